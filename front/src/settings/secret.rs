//! Texts that are never printed.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of logs.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }
    /// The text of a file, without its last line end.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
    }
    /// What a flag or a file says; the file wins.
    pub(super) fn of(flag: Option<&Secret>, file: Option<&Path>) -> Result<Option<Self>, String> {
        file.map_or_else(|| Ok(flag.cloned()), |file| Secret::read(file).map(Some))
    }
    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Secret::new(text))
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    #[test]
    fn a_secret_from_a_file_wins_and_loses_its_line_end() {
        let file = std::env::temp_dir().join(format!("stoa-secret-{}", std::process::id()));
        std::fs::write(&file, "from-file\n").unwrap();
        let mut settings = Settings::for_tests("", "from-flag");
        settings.auth.jwt_secret_file = Some(file.clone());
        assert_eq!(settings.auth.jwt_secret().unwrap().unwrap().reveal(), "from-file");
        std::fs::remove_file(file).unwrap();
    }
}
