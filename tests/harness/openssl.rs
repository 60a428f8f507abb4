//! Keys and certificates, made by `openssl` when a story begins: none lies in the repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Runs `openssl` and gives what it prints.
pub fn openssl(arguments: &[&str]) -> Vec<u8> {
    let ran = Command::new("openssl").args(arguments).output().expect("openssl starts");
    assert!(ran.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    ran.stdout
}

const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// Somebody who vouches for servers.
pub struct Authority {
    directory: TempDir,
}

/// The files of a server's certificate and its key.
pub struct Certificate {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, with a key of its own.
    pub fn new() -> Authority {
        let authority = Authority { directory: tempfile::tempdir().unwrap() };
        let (key, certificate) = (authority.file("ca.key"), authority.file("ca.pem"));
        let out = ["-nodes", "-days", "2", "-subj", "/CN=Authority", "-keyout", &key, "-out", &certificate];
        openssl(&[&["req", "-x509"][..], &EC, &out].concat());
        authority
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for these names, as in `DNS:localhost,IP:127.0.0.1`, which ends after so many days.
    pub fn vouch(&self, names: &str, days: u32) -> Certificate {
        let (key, request, made) = (self.file("server.key"), self.file("server.csr"), self.file("server.pem"));
        let out = ["-nodes", "-subj", "/CN=server", "-keyout", &key, "-out", &request];
        openssl(&[&["req"][..], &EC, &out].concat());
        let extensions = self.file("extensions");
        std::fs::write(&extensions, format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\n")).unwrap();
        let (ca, ca_key, days) = (self.file("ca.pem"), self.file("ca.key"), days.to_string());
        let by = ["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-days", &days, "-extfile", &extensions];
        openssl(&[&["x509", "-req", "-in", &request, "-out", &made][..], &by].concat());
        Certificate { certificate: made.into(), key: key.into() }
    }

    fn file(&self, name: &str) -> String {
        path(self.directory.path(), name)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

/// A file in a directory, as an argument.
pub fn path(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}
