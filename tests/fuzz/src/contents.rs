//! A snapshot's file, as etcd or whoever is in its place may send it.
use snapshot::{Contents, Tally, Unread, Walk, fixture};

use crate::is_line;

/// What is in front of the file: whether its metas are summed anew, and into what it is cut.
const HEAD: usize = 4;
/// The longest name of a resource: of itself and its group, bytes.
const LONGEST_NAME: usize = 2 * 253 + 1;
/// The longest name of a key: 1,024 bytes, of which each may have become a character of three.
const LONGEST_KEY: usize = 3 * 1024;
/// The longest word on what is wrong.
const LONGEST_WORD: usize = 256;

/// Reads a file at once and in pieces: it is the same file, and what is told of it lies within it.
pub fn check(input: &[u8]) {
    let Some((&[how, lengths @ ..], file)) = input.split_first_chunk::<HEAD>() else { return };
    let mut file = file.to_vec();
    if how & 1 == 1 {
        fixture::seal(&mut file);
    }
    let whole = read([&*file]);
    assert_eq!(read(pieces(&file, lengths)), whole, "cut by {lengths:?}");
    match whole {
        Ok(contents) => check_contents(&contents, file.len() as u64),
        Err(unread) => check_unread(&unread),
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Contents, Unread> {
    let mut walk = Walk::new();
    pieces.into_iter().for_each(|piece| walk.push(piece));
    walk.finish()
}

/// A file in pieces of 1 to 65,026 bytes, whose lengths come again and again.
fn pieces(mut file: &[u8], lengths: [u8; HEAD - 1]) -> impl Iterator<Item = &[u8]> {
    lengths.into_iter().cycle().map_while(move |length| {
        let length = 1 + usize::from(length) * usize::from(length);
        let (piece, rest) = file.split_at(length.min(file.len()));
        file = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn check_contents(contents: &Contents, length: u64) {
    assert!(
        contents.pages.checked_mul(contents.page_size).is_some_and(|size| size <= length),
        "{contents:?}"
    );
    assert!(contents.opens_at() >= 1.max(contents.revision.unwrap_or_default()));
    assert_eq!(contents.revision.is_some(), contents.changes > 0, "{contents:?}");
    if let Some(tally) = &contents.tally {
        check_tally(tally, contents.changes);
    }
}

fn check_tally(tally: &Tally, changes: u64) {
    assert!(tally.keys <= changes);
    assert!(tally.objects.values().sum::<u64>() <= tally.keys);
    assert!(tally.encryption.iter().map(|alike| alike.values).sum::<u64>() <= tally.keys);
    assert!(tally.objects.keys().all(|name| name.len() <= LONGEST_NAME));
    let keys = tally.encryption.iter().flat_map(|alike| [&alike.provider, &alike.key]);
    assert!(keys.into_iter().all(|name| name.len() <= LONGEST_KEY));
}

fn check_unread(unread: &Unread) {
    assert!(is_line(&unread.to_string(), LONGEST_WORD), "{unread:?}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let database = fixture::database(12);
    let mut bare = database.clone();
    // Only the second meta says how long a page is.
    bare[..fixture::SIZE].fill(0);
    let with = |head: [u8; HEAD], file: &[u8]| [&head, file].concat();
    vec![
        with([0, 0, 0, 0], &database),
        with([1, 22, 3, 30], &fixture::database(7)),
        with([1, 22, 23, 4], &bare),
        with([1, 4, 40, 22], &fixture::branched()),
        with([1, 0, 1, 2], &fixture::two_seconds()),
        with([0, 9, 1, 7], &database[..9 * fixture::SIZE]),
        with([0, 1, 2, 3], b"<html>no database</html>"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_file() {
        let file: Vec<u8> = (0..100).collect();
        let cut: Vec<_> = pieces(&file, [2, 0, 5]).collect();
        assert_eq!(
            cut.iter().map(|piece| piece.len()).collect::<Vec<_>>(),
            [5, 1, 26, 5, 1, 26, 5, 1, 26, 4]
        );
        assert_eq!(cut.concat(), file);
    }

    #[test]
    fn the_seeds_are_whole_and_damaged() {
        let whole: Vec<_> = seeds().iter().map(|seed| read([&seed[HEAD..]]).is_ok()).collect();
        assert_eq!(whole, [true, true, true, true, true, false, false]);
    }
}
