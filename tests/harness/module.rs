//! Where what is under test is: the module's library, and the front as a program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The absolute path of `libstoa.so`: what `STOA_MODULE` names, or the one built with the tests' own profile,
/// built now if it is not there.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("STOA_MODULE") {
        Some(path) => std::fs::canonicalize(&path)
            .unwrap_or_else(|e| panic!("STOA_MODULE names {}, which cannot be read: {e}", path.display())),
        None => build("stoa-module", "libstoa.so"),
    })
}

/// The absolute path of `stoa-front`, for stories that need a front as a process of its own: what `STOA_FRONT_BINARY`
/// names, or the one built with the tests' own profile, built now if it is not there.
pub fn front_binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("STOA_FRONT_BINARY") {
        Some(path) => std::fs::canonicalize(&path)
            .unwrap_or_else(|e| panic!("STOA_FRONT_BINARY names {}, which cannot be read: {e}", path.display())),
        None => build("stoa-front", "stoa-front"),
    })
}

/// The directory that the running test was built into: `target/debug` of whichever target directory is in use.
pub fn build_directory() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().find(|at| at.ends_with("deps")).and_then(Path::parent).unwrap().to_owned()
}

/// Cargo decides whether there is anything to do: something stale would prove the wrong code.
fn build(package: &str, file: &str) -> PathBuf {
    let directory = build_directory();
    let profile = match directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--quiet", "--package", package, "--profile", profile, "--target-dir"])
        .arg(directory.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap_or_else(|e| panic!("cargo does not start ({e}); build {package} and name it: see README.md"));
    assert!(status.success(), "{package} does not build (libclang-dev and a C compiler are needed: see README.md)");
    directory.join(file)
}
