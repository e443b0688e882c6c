//! Whether a snapshot is whole and undamaged, found out while it passes.
use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use model::{Reason, result::Failure};

/// etcd's file is made of pages, of at least this size each; the trailer comes on top.
const PAGE: u64 = 512;
const TRAILER: usize = SHA256_OUTPUT_LEN;
/// Where bbolt's first page holds its magic number.
const MAGIC_AT: std::ops::Range<usize> = 16..20;
const MAGIC: u32 = 0xED0C_DAED;

/// Hashes a snapshot as it passes and judges it at its end.
///
/// The last 32 bytes are etcd's SHA-256 of all bytes before them. Which bytes
/// are the last is known only at the end, so as many are always held back.
pub struct Verifier {
    digest: Context,
    tail: Vec<u8>,
    head: Vec<u8>,
    bytes: u64,
    remaining: u64,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Verifier {
    /// A verifier that has seen nothing.
    pub fn new() -> Self {
        Self {
            digest: Context::new(&SHA256),
            tail: Vec::with_capacity(2 * TRAILER),
            head: Vec::with_capacity(MAGIC_AT.end),
            bytes: 0,
            remaining: 0,
        }
    }

    /// Takes the next bytes, and how many etcd says are still to come.
    pub fn push(&mut self, chunk: &[u8], remaining: u64) {
        let lacking = MAGIC_AT.end.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend_from_slice(&chunk[..lacking]);
        self.bytes += chunk.len() as u64;
        self.remaining = remaining;
        // What of the tail cannot be the trailer any more, then what of the chunk cannot.
        let (hashed, held) = chunk.split_at(chunk.len().saturating_sub(TRAILER));
        let excess = (self.tail.len() + held.len()).saturating_sub(TRAILER);
        self.digest.update(&self.tail[..excess]);
        self.tail.drain(..excess);
        self.digest.update(hashed);
        self.tail.extend_from_slice(held);
    }

    /// Bytes seen so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Judges what was seen, as the whole of a stream that has ended: its length with the trailer, and its SHA-256 as
    /// hexadecimal digits.
    ///
    /// # Errors
    ///
    /// `NotEtcd` for what does not begin like etcd's database,
    /// `SnapshotTruncated` for what lacks its end, `SnapshotDamaged` for what
    /// is not what etcd hashed.
    pub fn finish(self) -> Result<(u64, String), Failure> {
        let Self { bytes, remaining, .. } = self;
        if remaining != 0 {
            return Err(self.incomplete(&format!("{remaining} bytes were still to come")));
        }
        if bytes % PAGE != TRAILER as u64 {
            return Err(self.incomplete("it is no whole number of pages and a SHA-256"));
        }
        let sha256 = hex::encode(self.digest.finish());
        let expected = hex::encode(&self.tail);
        if sha256 != expected {
            let message = format!("the SHA-256 of {bytes} bytes is {sha256}, etcd sent {expected}");
            return Err(Failure::new(Reason::SnapshotDamaged, message));
        }
        Ok((bytes, sha256))
    }

    fn incomplete(&self, why: &str) -> Failure {
        let bytes = self.bytes;
        if self.begins_otherwise() {
            let message = format!("the snapshot of {bytes} bytes does not begin like etcd's database");
            return Failure::new(Reason::NotEtcd, message).at("spec.etcdEndpoint");
        }
        Failure::new(Reason::SnapshotTruncated, format!("the snapshot ended after {bytes} bytes: {why}"))
    }

    /// The magic number is in the byte order of the machine that etcd runs on.
    fn begins_otherwise(&self) -> bool {
        let found = self.head.get(MAGIC_AT);
        found.is_some_and(|found| found != MAGIC.to_le_bytes() && found != MAGIC.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;
    use rstest::rstest;

    use super::*;

    /// Two pages and their hash.
    fn snapshot() -> Vec<u8> {
        let mut file: Vec<u8> = (0..1024u32).map(|index| (index * 7 % 251) as u8).collect();
        file[MAGIC_AT].copy_from_slice(&MAGIC.to_le_bytes());
        let hash = digest(&SHA256, &file);
        file.extend_from_slice(hash.as_ref());
        file
    }

    /// What is said of a file that comes in chunks and then ends, with nothing to come.
    fn judged(file: &[u8], chunk: usize) -> Result<(u64, String), Reason> {
        let mut verifier = Verifier::new();
        for part in file.chunks(chunk) {
            verifier.push(part, 0);
        }
        verifier.finish().map_err(|failure| failure.reason)
    }

    #[rstest]
    fn a_whole_snapshot_is_good_however_it_is_cut(
        #[values(1, 3, 31, 32, 33, 63, 64, 65, 500, 1024, 1055, 1056)] chunk: usize,
    ) {
        let file = snapshot();
        let expected = (1056, hex::encode(digest(&SHA256, &file[..1024])));
        assert_eq!(judged(&file, chunk), Ok(expected));
    }

    #[test]
    fn an_empty_chunk_between_changes_nothing() {
        let file = snapshot();
        let mut verifier = Verifier::new();
        for part in [&file[..40], &[], &file[40..], &[]] {
            verifier.push(part, 0);
        }
        verifier.finish().expect("whole");
    }

    #[test]
    fn truncated_at_any_byte_is_never_good() {
        let file = snapshot();
        for length in 0..file.len() {
            // A length at which the file could end is betrayed by the hash.
            let expected =
                if length as u64 % PAGE == 32 { Reason::SnapshotDamaged } else { Reason::SnapshotTruncated };
            assert_eq!(judged(&file[..length], 32), Err(expected), "after {length} bytes");
        }
    }

    #[test]
    fn one_flipped_bit_is_never_good() {
        let file = snapshot();
        for byte in 0..file.len() {
            let mut damaged = file.clone();
            damaged[byte] ^= 1 << (byte % 8);
            assert_eq!(judged(&damaged, 100), Err(Reason::SnapshotDamaged), "in byte {byte}");
        }
    }

    #[test]
    fn a_page_of_html_is_not_etcd() {
        let page = b"<html><body><h1>502 Bad Gateway</h1></body></html>";
        assert_eq!(judged(page, 10), Err(Reason::NotEtcd));
    }

    #[test]
    fn the_end_before_etcd_said_so_is_a_truncation() {
        let mut verifier = Verifier::new();
        verifier.push(&snapshot(), 4096);
        assert_eq!(verifier.finish().expect_err("more was to come").reason, Reason::SnapshotTruncated);
    }
}
