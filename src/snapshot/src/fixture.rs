//! Snapshots made by hand: smaller than any that etcd writes, and whole.
/// Bytes of a page.
pub const SIZE: usize = 512;

/// What a meta begins with.
const MAGIC: u32 = 0xED0C_DAED;
/// Bytes of a page before its meta.
const HEADER: usize = 16;
/// Bytes of a meta before its sum.
const SUMMED: usize = 56;

fn sum(meta: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    meta.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Sums each meta anew wherever one may be, so that what was changed in it is believed.
pub fn seal(file: &mut [u8]) {
    for begin in std::iter::once(0).chain((9..=16).map(|bits| 1 << bits)) {
        let Some(page) = file.get_mut(begin..begin + HEADER + SUMMED + 8) else { return };
        let (meta, place) = page[HEADER..].split_at_mut(SUMMED);
        if meta.starts_with(&MAGIC.to_le_bytes()) {
            place.copy_from_slice(&sum(meta).to_le_bytes());
        } else if meta.starts_with(&MAGIC.to_be_bytes()) {
            place.copy_from_slice(&sum(meta).to_be_bytes());
        }
    }
}

fn meta(transaction: u64, root: u64, pages: u64) -> Vec<u8> {
    let head = [MAGIC, 2, 512, 0].map(u32::to_le_bytes).concat();
    let rest = [root, 0, u64::MAX, pages, transaction].map(u64::to_le_bytes).concat();
    let mut meta = [head, rest].concat();
    meta.extend(sum(&meta).to_le_bytes());
    page((transaction % 2, 4, 0, 0), &meta)
}

fn page((id, flags, count, overflow): (u64, u16, u16, u32), contents: &[u8]) -> Vec<u8> {
    let mut page = Vec::new();
    page.extend(id.to_le_bytes());
    page.extend(flags.to_le_bytes());
    page.extend(count.to_le_bytes());
    page.extend(overflow.to_le_bytes());
    page.extend(contents);
    page.resize(SIZE * (overflow as usize + 1), 0);
    page
}

/// A page of elements: flags, key, value.
pub(crate) fn leaf(id: u64, overflow: u32, elements: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let (mut heads, mut data) = (Vec::new(), Vec::new());
    for (index, (flags, key, value)) in elements.iter().enumerate() {
        let position = (elements.len() - index) * 16 + data.len();
        for number in [*flags as usize, position, key.len(), value.len()] {
            heads.extend(u32::try_from(number).expect("small").to_le_bytes());
        }
        data.extend([*key, *value].concat());
    }
    let count = u16::try_from(elements.len()).expect("few");
    page((id, 2, count, overflow), &[heads, data].concat())
}

/// A key of bucket `key`.
pub(crate) fn revision(main: u64) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_\0\0\0\0\0\0\0\0"].concat()
}

/// A value of bucket `key`.
pub(crate) fn change(key: &[u8], value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(key.len()).expect("short");
    let mut change = [&[0x0a, length], key, &[0x2a]].concat();
    let mut rest = value.len();
    while rest > 0x7f {
        change.push(u8::try_from(rest & 0x7f).expect("masked") | 0x80);
        rest >>= 7;
    }
    change.push(u8::try_from(rest).expect("masked"));
    [change, value.to_vec()].concat()
}

fn root_of(page: u64) -> Vec<u8> {
    [page.to_le_bytes(), [0; 8]].concat()
}

/// Two metas, the root, `meta`, and `key` on a page with overflow, behind a stale page: seven pages of so many.
pub(crate) fn filled(stale: &[u8], pages: u64) -> Vec<u8> {
    let long = change(b"/registry/pods/a/long", &[b'v'; 700]);
    let short = change(b"/registry/pods/a/short", b"v");
    let keys = leaf(5, 1, &[(0, &revision(2), &short), (0, &revision(3), &long)]);
    let root = leaf(2, 0, &[(1, b"key", &root_of(5)), (1, b"meta", &root_of(3))]);
    let index = 7_u64.to_be_bytes();
    let settings = leaf(3, 0, &[(0, b"consistent_index", &index)]);
    [meta(8, 2, pages), meta(7, 2, pages), root, settings, stale.to_vec(), keys].concat()
}

/// A whole database of so many pages, of which most are free: two pods, newest revision 3, raft index 7.
///
/// Without the hash that etcd sends behind it.
pub fn database(pages: u64) -> Vec<u8> {
    let mut file = filled(&leaf(4, 0, &[]), pages);
    file.resize(usize::try_from(pages).unwrap_or(usize::MAX) * SIZE, 0);
    file
}

/// What a small database has none of: `key` on two leaves below a branch, `meta` within the root's page, and a list
/// of free pages. Two secrets, of which one is encrypted, newest revision 4 by a deletion, raft index 7.
pub fn branched() -> Vec<u8> {
    let index = 7_u64.to_be_bytes();
    let settings = leaf(0, 0, &[(0, b"consistent_index", &index)]);
    let inline = [root_of(0), settings[..56].to_vec()].concat();
    let root = leaf(2, 0, &[(1, b"key", &root_of(5)), (1, b"meta", &inline)]);
    let free = page((3, 0x10, 1, 0), &4_u64.to_le_bytes());
    let plain = change(b"/registry/secrets/a/plain", b"k8s\0");
    let sealed = change(b"/registry/secrets/a/sealed", b"k8s:enc:aescbc:v1:key1:\x01");
    let deletion = [revision(4), b"t".to_vec()].concat();
    let gone = change(b"/registry/pods/a/gone", b"");
    let first = leaf(6, 0, &[(0, &revision(1), &gone), (0, &revision(2), &plain)]);
    let last = leaf(7, 0, &[(0, &revision(3), &sealed), (0, &deletion, &gone)]);
    let branch = branch(5, &[(&revision(1), 6), (&revision(3), 7)]);
    let mut file = [meta(8, 2, 8), meta(7, 2, 8), root, free, vec![0; SIZE], branch, first, last].concat();
    for meta in [0, SIZE] {
        file[meta + HEADER + 32..][..8].copy_from_slice(&3_u64.to_le_bytes());
    }
    seal(&mut file);
    file
}

/// Two pages claim to be the second one, each where it would be by the length of a page that it tells, and the first
/// says nothing.
pub fn two_seconds() -> Vec<u8> {
    const LONGER: usize = 8 * SIZE;
    let mut file = database(16);
    file.copy_within(SIZE..2 * SIZE, LONGER);
    file[LONGER + HEADER + 8..][..4].copy_from_slice(&u32::try_from(LONGER).expect("small").to_le_bytes());
    file[..SIZE].fill(0);
    seal(&mut file);
    file
}

/// A page of children: their first keys and their pages.
fn branch(id: u64, children: &[(&[u8], u64)]) -> Vec<u8> {
    let (mut heads, mut keys) = (Vec::new(), Vec::new());
    for (index, (key, child)) in children.iter().enumerate() {
        for number in [(children.len() - index) * 16 + keys.len(), key.len()] {
            heads.extend(u32::try_from(number).expect("small").to_le_bytes());
        }
        heads.extend(child.to_le_bytes());
        keys.extend(*key);
    }
    page((id, 1, u16::try_from(children.len()).expect("few"), 0), &[heads, keys].concat())
}
