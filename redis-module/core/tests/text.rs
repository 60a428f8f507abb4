//! The buffer of a document's text against a plain string: long random sessions, in characters that are hard to count.

#![allow(clippy::unwrap_used)]

mod chance;

use chance::Chance;
use stoa_core::op::Unit;
use stoa_core::text::{OutOfText, Place, Text};

fn len(text: &str) -> Place {
    Place { utf16: Unit::Utf16.len(text) as u32, chars: Unit::Char.len(text) as u32 }
}

/// The byte at which a character starts.
fn byte(text: &str, at: usize) -> usize {
    text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte)
}

/// A text of up to so many pieces; one in two is ASCII alone.
fn some_text(chance: &mut Chance, pieces: usize) -> String {
    let text = chance.text(pieces);
    if chance.below(2) == 0 { text.replace(|c: char| !c.is_ascii(), "x") } else { text }
}

/// Every position of the twin is found, and none that the twin does not have.
fn assert_places(text: &Text, twin: &str) {
    let mut place = Place::default();
    for c in twin.chars() {
        assert_eq!((text.at_utf16(place.utf16), text.at_char(place.chars)), (Ok(place), Ok(place)));
        if c.len_utf16() == 2 {
            assert_eq!(text.at_utf16(place.utf16 + 1), Err(OutOfText));
        }
        place = Place { utf16: place.utf16 + c.len_utf16() as u32, chars: place.chars + 1 };
    }
    assert_eq!((text.len(), text.at_utf16(place.utf16)), (place, Ok(place)));
    assert_eq!((text.at_utf16(place.utf16 + 1), text.at_char(place.chars + 1)), (Err(OutOfText), Err(OutOfText)));
}

#[test]
fn the_buffer_holds_what_a_plain_string_would() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut chance = Chance(seed);
        // From nothing, from one chunk, from several groups of chunks.
        let mut twin = some_text(&mut chance, [0, 100, 60_000][seed as usize % 3]);
        let mut text = Text::new(&twin).unwrap();
        // Where the session types, mostly: people go on where they are.
        let mut caret = 0;
        for step in 0..3_000 {
            let chars = text.len().chars as usize;
            if chance.below(8) == 0 || caret > chars {
                caret = chance.below(chars + 1);
            }
            let reach = [2, 20, 3_000][chance.below(3)];
            let (at, end) = (caret, (caret + chance.below(reach)).min(chars));
            let (from, to) = (byte(&twin, at), byte(&twin, end));
            if chance.below(3) == 0 {
                let mut gone = String::from("before ");
                text.push_slice(at as u32, end as u32, &mut gone).unwrap();
                assert_eq!(gone[7..], twin[from..to]);
                text.delete(at as u32, (end - at) as u32).unwrap();
                twin.replace_range(from..to, "");
            } else {
                let pieces = [1, 3, 40, 2_000][if chance.below(20) == 0 { 3 } else { chance.below(3) }];
                let insert = some_text(&mut chance, pieces);
                text.insert(at as u32, &insert, len(&insert)).unwrap();
                twin.insert_str(from, &insert);
                caret += insert.chars().count();
            }
            assert_eq!((text.len_bytes(), text.is_empty()), (twin.len(), twin.is_empty()), "step {step}");
            if step % 300 == 0 {
                assert_eq!(text.to_string(), twin, "step {step}");
                assert_places(&text, &twin);
            }
        }
        assert_eq!(text.to_string(), twin);
        assert_eq!((text.hash(), text.len()), (Text::new(&twin).unwrap().hash(), len(&twin)));
        text.delete(0, text.len().chars).unwrap();
        assert_eq!((text.to_string().as_str(), text.len(), text.len_bytes()), ("", Place::default(), 0));
    }
}

#[test]
fn what_is_deleted_gives_its_memory_back() {
    let mut text = Text::new(&"some text ".repeat(100_000)).unwrap();
    assert!(text.heap_bytes() < 1_200_000);
    // Nine of ten characters go, one by one and all over the text.
    for at in 0..100_000 {
        text.delete(at, 9).unwrap();
    }
    assert_eq!(text.len_bytes(), 100_000);
    assert!(text.heap_bytes() < 400_000, "{} bytes hold 100,000", text.heap_bytes());
}
