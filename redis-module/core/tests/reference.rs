//! The page of the command reference says what the code says.
#![allow(clippy::unwrap_used)]

use stoa_core::reference;

#[test]
fn the_page_is_made_from_the_code() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
    if std::env::var_os("STOA_WRITE_REFERENCE").is_some() {
        std::fs::write(page, reference::markdown()).unwrap();
    }
    let written = std::fs::read_to_string(page).unwrap();
    assert!(written == reference::markdown(), "docs/commands.md is out of date: make generated");
}

#[test]
fn every_command_stands_in_its_family_once() {
    let mut names: Vec<&str> = reference::FAMILIES.iter().flat_map(|f| f.commands.iter().map(|e| e.name)).collect();
    for family in reference::FAMILIES {
        assert!(family.commands.iter().all(|e| e.name.starts_with(family.prefix)), "{}", family.prefix);
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
