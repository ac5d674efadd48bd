//! Golden bytes: what is stored and sent today is what was stored and sent before.
//!
//! `golden/*.txt` holds, line by line, a name and the bytes in hexadecimal. A line never changes while the format or
//! protocol keeps its version; new ones may be added. A mismatch prints the lines as they would have to be.
//! The fuzz targets start from the same bytes.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod lists;
mod log;
mod records;
mod wire;

/// Something and its bytes.
struct Case {
    name: String,
    bytes: Vec<u8>,
}

impl Case {
    fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), bytes }
    }
}

/// Compares the cases with the lines of `golden`, both in their order.
fn check(file: &str, golden: &str, cases: &[Case]) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: Vec<String> =
        cases.iter().map(|case| format!("{} {}", case.name, hex(&case.bytes)).trim_end().to_owned()).collect();
    let golden: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    for (line, golden) in lines.iter().zip(&golden) {
        assert_eq!(line, golden, "the bytes differ from those in {file}");
    }
    let missing = lines.get(golden.len()..).unwrap_or_default();
    assert!(missing.is_empty(), "{file} lacks these lines:\n{}", missing.join("\n"));
    let left_over = golden.get(lines.len()..).unwrap_or_default();
    assert!(left_over.is_empty(), "{file} has lines that nothing makes any more:\n{}", left_over.join("\n"));
}

/// Hands out every beginning of `bytes`, and `bytes` with each of its bits flipped.
fn damaged(bytes: &[u8], mut each: impl FnMut(&[u8])) {
    (0..bytes.len()).for_each(|end| each(&bytes[..end]));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        each(&flipped);
    }
}
