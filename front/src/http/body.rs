//! The bodies of requests: small, and not slow.

use crate::frame::{Code, FrameError};
use axum::body::{Body, to_bytes};
use std::time::Duration;

/// Time for a body: who sends a byte a minute only wants to hold a socket.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body of at most `bytes_max` bytes; `bound` is what that is called.
pub(crate) async fn read(body: Body, bound: &str, bytes_max: usize) -> Result<String, FrameError> {
    let read = tokio::time::timeout(TIMEOUT, to_bytes(body, bytes_max)).await;
    let late = |_| FrameError::new(Code::InvalidFrame, "the body did not come in time");
    let large = |_| FrameError::new(Code::TooLarge, format!("{bound}: the body has at most {bytes_max} bytes"));
    let bytes = read.map_err(late)?.map_err(large)?;
    String::from_utf8(bytes.into()).map_err(|_| FrameError::new(Code::InvalidFrame, "the body is UTF-8"))
}
