//! Finds the reader that a target names.

/// Tries a reader with any bytes.
pub fn run(name: &str, bytes: &[u8]) {
    let decoder = trireme_tests::decoders::all().find(|(known, _)| *known == name);
    let (_, decode) = decoder.expect("a test knows every target");
    decode(bytes);
}
