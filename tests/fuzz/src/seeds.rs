//! Writes true messages for each reader into `DIR/READER/`.

use std::fs;
use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = dir.ok_or_else(|| io::Error::other("usage: seeds DIR"))?;
    for (name, _) in trireme_tests::decoders::all() {
        fs::create_dir_all(dir.join(name))?;
        for (number, seed) in trireme_tests::decoders::seeds(name).iter().enumerate() {
            fs::write(dir.join(name).join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
