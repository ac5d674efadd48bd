//! What somebody would build instead on the same machine: the only place of the benchmarks that names RocksDB.

/// The version of RocksDB that is linked: the lock file says it as the build metadata of the crate that compiles it.
pub fn version() -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let after = lock.split_once("name = \"librocksdb-sys\"").map(|(_, after)| after);
    let version = after.and_then(|after| after.split('"').nth(1));
    version.and_then(|version| version.split_once('+')).map_or("unknown", |(_, version)| version)
}
