//! TLS towards others: Redis, and issuers of tokens. (Towards clients it ends in front of the front.)

use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Believes in the authorities of a PEM file and in no others; without one in those of this machine. The name of the
/// other side is always checked.
pub(crate) fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let say = |e: &dyn std::fmt::Display| format!("cannot read certificates from {}: {e}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| say(&e))? {
                roots.add(certificate.map_err(|e| say(&e))?).map_err(|e| say(&e))?;
            }
        }
        None => {
            // Some of what a system believes in may be of a kind that we cannot read.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("there is no certificate of an authority to believe in".into());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
