//! Events, keys, positions and JSON as bytes from outside: they are read or refused, and what is read is written
//! the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stoa_core::epoch::{Epoch, Position};
use stoa_core::identity::{Identity, check_id};
use stoa_core::names::RoomKey;
use stoa_core::{event, json, rate};

fuzz_target!(|bytes: &[u8]| {
    if let Ok((header, frame)) = event::decode(bytes) {
        if let Ok(frame) = std::str::from_utf8(frame) {
            let again = event::encode(&header, frame);
            assert_eq!(event::decode(&again).expect("what was written is read"), (header, frame.as_bytes()));
        }
    }
    for key in [RoomKey::parse(bytes), RoomKey::parse_room(bytes)].into_iter().flatten() {
        let stream = if key.stream.is_empty() { String::new() } else { format!(":{}", key.stream) };
        assert_eq!(format!("{}{stream}", key.channel).as_bytes(), bytes);
        assert!(key.channel.ends_with(&format!("{{{}}}", key.room)));
    }
    stored_json(bytes);
    let limits = [rate::Limit::new(5, 1, 1000)].into_iter().flatten().collect::<Vec<_>>();
    let _ = rate::take(bytes, &limits, 1, 1_700_000_000_000_000_000);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
    if let Ok(epoch) = text.parse::<Epoch>() {
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
    }
    let _ = check_id("user", text, true);
    let _ = Identity::new(text, text, bytes.len() as u64);
    let quoted = json::quoted(text);
    assert_eq!(json::checked("text", quoted.as_bytes(), usize::MAX).expect("a quoted text is JSON"), quoted);
    let (target, patch) = text.split_at_checked(text.len() / 2).unwrap_or((text, "{}"));
    let _ = json::merge_patch(target, patch);
});

/// What is accepted is one line, means what it meant, and is accepted again as it stands.
fn stored_json(bytes: &[u8]) {
    let Ok(compact) = json::checked("text", bytes, 4096) else { return };
    assert!(!compact.contains(['\n', '\r']), "a frame is one line");
    assert_eq!(json::checked("text", compact.as_bytes(), 4096).as_deref(), Ok(compact.as_str()));
    if compact.starts_with('{') {
        let merged = json::merge_patch(&compact, "{}").expect("an object takes an empty patch");
        json::checked("text", merged.as_bytes(), usize::MAX).expect("a merged object is JSON");
    }
}
