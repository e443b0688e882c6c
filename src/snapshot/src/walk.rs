//! Reads a file's bytes as they pass.
use serde::{Deserialize, Serialize};

use crate::{
    Damage, Tally, Unread,
    bytes::Order,
    entries::Entries,
    page::{Header, Kind, Meta, Page},
    pages::{INLINE, Known, Pages, Setting},
    tree::{Found, Tree},
};

/// Longest page with its overflow that is read, bytes. One value of etcd's takes one; etcd takes 1.5 MiB of one
/// request unless it is told otherwise.
const LONGEST: usize = 16 << 20;
/// How often the whole file may be read again because of pages over one another: each is what another once was.
const OVERLAPPING: usize = 8;
/// As many bytes are kept before it is given up to find out how long a page is.
const BEGINNING: usize = 128 << 10;
/// Page sizes that are tried where the first meta does not say.
const PAGE_SIZES: [usize; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// A file as far as it has passed.
///
/// # Guarantees
///
/// Memory: 32 bytes for each page, 16 for each change and each child of a branch, up to 192 and 128 MiB, an eighth of
/// that in reserve, and at most 160 MiB besides, of which a usual file takes less than one.
pub struct Walk {
    /// The beginning of the file, or of a page, that is not complete yet.
    rest: Vec<u8>,
    page_size: Option<usize>,
    metas: Vec<Meta>,
    pages: Pages,
    entries: Entries,
    open: Open,
    /// Bytes that were read of long pages, those of pages over one another more than once.
    read_again: usize,
}

/// What a whole and undamaged file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages in use or free.
    pub pages: u64,
    /// The newest revision of any key that is stored; none in a store without keys.
    pub revision: Option<u64>,
    /// Where etcd's history begins: what was overwritten before is gone. None if it was never compacted.
    pub compacted: Option<u64>,
    /// How far a compaction that was begun will come, or came; none if there never was one.
    pub compacting: Option<u64>,
    /// Index of the last entry of the raft log that was applied.
    pub raft_index: Option<u64>,
    /// Changes that are stored, those of keys that were changed again too.
    pub changes: u64,
    /// What is there; none if there are too many changes to tell.
    pub tally: Option<Tally>,
}

impl Contents {
    /// The revision that an etcd has which opens the file, as
    /// <https://github.com/etcd-io/etcd/blob/main/server/storage/mvcc/kvstore.go> finds it: an empty store is at 1, and
    /// what is compacted counts where nothing newer is left.
    pub fn opens_at(&self) -> u64 {
        [self.revision, self.compacted, self.compacting].into_iter().flatten().fold(1, u64::max)
    }
}

/// Pages with overflow that has not all passed yet, over one another: which of them counts is not known.
#[derive(Default)]
struct Open {
    runs: Vec<(u32, Header)>,
    /// The file from page `first` on, as long as a run is open.
    bytes: Vec<u8>,
    first: u32,
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

impl Walk {
    /// A walk at the beginning of a file.
    pub fn new() -> Self {
        Self {
            rest: Vec::new(),
            page_size: None,
            metas: Vec::new(),
            pages: Pages::new(),
            entries: Entries::new(),
            open: Open::default(),
            read_again: 0,
        }
    }

    /// Takes the next bytes. What is less than a page at the end, as etcd's hash is, is not read.
    pub fn push(&mut self, mut bytes: &[u8]) {
        let Some(size) = self.page_size else { return self.begin(bytes) };
        if !self.rest.is_empty() {
            let (missing, after) = bytes.split_at(bytes.len().min(size - self.rest.len()));
            self.rest.extend_from_slice(missing);
            if self.rest.len() < size {
                return;
            }
            let page = std::mem::take(&mut self.rest);
            self.page(&page);
            bytes = after;
        }
        let pages = bytes.chunks_exact(size);
        self.rest.extend_from_slice(pages.remainder());
        pages.for_each(|page| self.page(page));
    }

    /// Finds out how long a page is, from as much of the file as that takes.
    fn begin(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        // The smallest, which comes first: of several it is the one however the bytes are cut.
        let mut sizes = PAGE_SIZES.into_iter();
        let second = |size: &usize| self.rest.get(*size..).is_some_and(|page| says(page, *size));
        let found = Meta::read(&self.rest).ok().map(|meta| meta.page_size).or_else(|| sizes.find(second));
        let is_enough = self.rest.len() >= BEGINNING;
        if let Some(size) = found.or(is_enough.then_some(PAGE_SIZES[3])) {
            self.page_size = Some(size);
            let beginning = std::mem::take(&mut self.rest);
            self.push(&beginning);
        }
    }

    fn page(&mut self, bytes: &[u8]) {
        let number = self.pages.count();
        if number >= INLINE {
            return;
        }
        self.pages.add();
        self.continue_runs(number, bytes);
        if number < 2 {
            self.metas.extend(Meta::read(bytes));
            self.pages.order = self.metas.first().map_or(Order::Little, |meta| meta.order);
            return;
        }
        let order = self.pages.order;
        let header = Header::read(bytes, order).filter(|header| header.id == u64::from(number));
        match header {
            Some(header) if matches!(header.kind, None | Some(Kind::Meta)) => {}
            Some(header) if header.overflow == 0 => {
                self.pages.read(number, Page { header, bytes, order }, &self.metas, &mut self.entries);
            }
            Some(header) => self.open_run(number, header, bytes),
            None => {}
        }
    }

    fn open_run(&mut self, number: u32, header: Header, bytes: &[u8]) {
        let pages = header.overflow as usize + 1;
        if pages > LONGEST / bytes.len() {
            return self.pages.set(number, Known::TooLong, None);
        }
        self.read_again += pages * bytes.len();
        if self.read_again > LONGEST + OVERLAPPING * (number as usize + 1) * bytes.len() {
            self.pages.give_up("pages over one another");
        }
        if self.open.runs.is_empty() {
            self.open.first = number;
            self.open.bytes.extend_from_slice(bytes);
        }
        self.open.runs.push((number, header));
    }

    /// Adds a page to what is kept, and reads the runs that it ends.
    fn continue_runs(&mut self, number: u32, bytes: &[u8]) {
        let Open { runs, bytes: kept, first } = &mut self.open;
        if runs.is_empty() {
            return;
        }
        kept.extend_from_slice(bytes);
        let (order, metas) = (self.pages.order, &self.metas);
        runs.retain(|(begin, header)| {
            let is_open = u64::from(*begin) + u64::from(header.overflow) > u64::from(number);
            if !is_open {
                let bytes = &kept[(begin - *first) as usize * bytes.len()..];
                self.pages.read(*begin, Page { header: *header, bytes, order }, metas, &mut self.entries);
            }
            is_open
        });
        // What only closed runs needed goes, but not after each page: it costs a copy of what stays.
        let needed = runs.first().map_or(kept.len(), |(begin, _)| (begin - *first) as usize * bytes.len());
        if needed == kept.len() {
            kept.clear();
        } else if needed >= kept.len() / 2 {
            kept.drain(..needed);
            *first += u32::try_from(needed / bytes.len()).unwrap_or_default();
        }
    }

    /// Judges what has passed, as the whole of a file.
    ///
    /// # Errors
    ///
    /// The first damage of what the file's newest state reaches; whatever else is in it is not looked at. Or what there
    /// is too much of.
    pub fn finish(mut self) -> Result<Contents, Unread> {
        if let Some(what) = self.pages.too_much() {
            return Err(Unread::TooMuch(what));
        }
        let newest = self.metas.iter().max_by_key(|meta| meta.transaction).cloned();
        let Some(meta) = newest else {
            let what =
                Meta::read(&self.rest).err().unwrap_or_else(|| "no beginning of it is valid".to_owned());
            return Err(Unread::Damaged(Damage { page: 0, offset: 0, what }));
        };
        for (number, _) in std::mem::take(&mut self.open.runs) {
            let wrong = Some("the file ends within it".to_owned());
            self.pages.set(number, Known::Damaged, wrong);
        }
        self.pages.sort();
        let seen = u64::from(self.pages.count());
        if seen < meta.pages {
            let what = format!("the file ends here, of {} pages", meta.pages);
            return Err(Unread::Damaged(Damage { page: seen, offset: seen * meta.page_size as u64, what }));
        }
        let found = Tree::follow(&self.pages, &meta)?;
        Ok(self.contents(&meta, &found))
    }

    fn contents(self, meta: &Meta, found: &Found) -> Contents {
        let setting = |setting| self.pages.setting(&found.settings, setting);
        Contents {
            page_size: meta.page_size as u64,
            pages: meta.pages,
            revision: found.revision,
            compacted: setting(Setting::Compacted),
            compacting: setting(Setting::Compacting),
            raft_index: setting(Setting::RaftIndex),
            changes: found.changes,
            tally: self.entries.tally(|page| found.rank(page)),
        }
    }
}

/// Whether a page is a meta that says how long it is.
fn says(page: &[u8], size: usize) -> bool {
    Meta::read(page).is_ok_and(|meta| meta.page_size == size)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::fixture::{SIZE, branched, change, database, filled, leaf, revision, two_seconds};

    fn read(file: &[u8], chunk: usize) -> Result<Contents, Unread> {
        let mut walk = Walk::new();
        file.chunks(chunk).for_each(|chunk| walk.push(chunk));
        walk.finish()
    }

    fn file(stale: &[u8]) -> Vec<u8> {
        filled(stale, 7)
    }

    fn stale() -> Vec<u8> {
        leaf(4, 0, &[(0, &revision(9), &change(b"/registry/pods/a/gone", b"v"))])
    }

    #[test]
    fn a_file_is_read_however_it_is_cut() {
        let file = [file(&stale()), vec![7; 32]].concat();
        for chunk in [1, 31, 511, 512, 513, 4096] {
            let contents = read(&file, chunk).expect("whole");
            let found = (contents.revision, contents.raft_index, contents.changes, contents.compacted);
            assert_eq!(found, (Some(3), Some(7), 2, None), "{chunk}");
            let tally = contents.tally.expect("few");
            assert_eq!((tally.keys, tally.objects["pods"]), (2, 2), "what a stale page holds does not count");
        }
    }

    #[test]
    fn of_two_pages_that_claim_to_be_the_second_one_counts_however_the_file_is_cut() {
        let file = two_seconds();
        let contents = read(&file, file.len()).expect("whole");
        assert_eq!(contents.page_size, 512);
        for chunk in [1, 513, 4096] {
            assert_eq!(read(&file, chunk), Ok(contents.clone()), "{chunk}");
        }
    }

    #[test]
    fn a_stale_page_that_claims_what_follows_it_changes_nothing() {
        let expected = read(&file(&stale()), 512).expect("whole");
        for overflow in [1_u32, 2, 5, u32::MAX] {
            let mut claims = stale();
            claims[12..16].copy_from_slice(&overflow.to_le_bytes());
            assert_eq!(read(&file(&claims), 512), Ok(expected.clone()), "{overflow}");
        }
    }

    #[test]
    fn a_tree_with_branches_and_a_list_of_free_pages_is_read() {
        let contents = read(&branched(), 512).expect("whole");
        let found = (contents.revision, contents.raft_index, contents.changes);
        assert_eq!(found, (Some(4), Some(7), 4));
        let tally = contents.tally.expect("few");
        assert_eq!((tally.keys, tally.objects["secrets"], tally.encryption[0].values), (2, 2, 1));
    }

    #[test]
    fn whatever_byte_is_another_reading_ends_and_what_it_tells_is_no_more() {
        let file = file(&stale());
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                let Ok(contents) = read(&damaged, 512) else { continue };
                assert!(contents.changes <= 2, "byte {at}, bit {bit}: {contents:#?}");
            }
        }
    }

    #[test]
    fn pages_that_are_free_are_no_damage() {
        let contents = read(&database(70), 512).expect("whole");
        assert_eq!((contents.pages, contents.revision), (70, Some(3)));
    }

    #[test]
    fn a_file_that_ends_early_is_damaged() {
        let file = file(&stale());
        for pages in 0..7 {
            assert!(matches!(read(&file[..pages * SIZE], 512), Err(Unread::Damaged(_))), "{pages} pages");
        }
    }

    #[rstest]
    #[case::nothing_was_ever_written(None, None, None, 1)]
    #[case::never_compacted(Some(9), None, None, 9)]
    #[case::all_was_deleted_and_compacted(Some(4), Some(9), Some(9), 9)]
    #[case::all_was_deleted_and_is_being_compacted(Some(4), Some(3), Some(9), 9)]
    fn a_store_opens_at_a_revision(
        #[case] revision: Option<u64>,
        #[case] compacted: Option<u64>,
        #[case] compacting: Option<u64>,
        #[case] expected: u64,
    ) {
        let contents = read(&file(&stale()), 512).expect("whole");
        assert_eq!(Contents { revision, compacted, compacting, ..contents }.opens_at(), expected);
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let mut file = file(&stale());
        file[5 * SIZE + 8] = 0x10;
        let expected = Damage { page: 5, offset: 2560, what: "it is neither a branch nor a leaf".to_owned() };
        assert_eq!(read(&file, 512), Err(Unread::Damaged(expected)));
    }
}
