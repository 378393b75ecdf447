//! Runs `testscripts/*.txt`: commands to a few members, and what they did. Messages and writes move only when a script
//! says so, which makes every interleaving writable.

use crate::cluster::Cluster;

#[test]
fn scripts() {
    golden::check(env!("CARGO_MANIFEST_DIR"), 6, Cluster::default, |cluster, line, out| cluster.run(line, out));
}
