//! What `--version` says. Harnesses read the first line, and some the first four: their layout is etcd's.

/// Given at build time by whoever packages a release.
const GIT_SHA: Option<&str> = option_env!("BOWLINE_GIT_SHA");

pub fn text() -> String {
    format!(
        "etcd Version: {}\nGit SHA: {}\nRust Version: {} or newer\nRust OS/Arch: {}/{}\nBowline Version: {}\n",
        model::ETCD_VERSION,
        GIT_SHA.unwrap_or("not provided"),
        env!("CARGO_PKG_RUST_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        env!("CARGO_PKG_VERSION"),
    )
}
