//! bbolt's pages: what <https://github.com/etcd-io/bbolt/blob/main/internal/common/page.go> writes.
use crate::bytes::Order;

/// Bytes of a page's header: id `u64`, flags `u16`, count `u16`, overflow `u32`.
const HEADER: usize = 16;
/// Bytes of an element, which says where key and value are: of a leaf flags, position, key size and value size, of a
/// branch position, key size and page. All `u32` but the page's `u64`.
const ELEMENT: usize = 16;
/// Bytes of a bucket's header: root page and sequence, both `u64`.
const BUCKET: usize = 16;
/// Flag of a leaf's element whose value is a bucket.
const IS_BUCKET: u32 = 1;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;

/// Bytes of a meta before its checksum.
const META_LENGTH: usize = 56;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Freelist of a file that keeps none, as etcd's.
const NO_FREELIST: u64 = u64::MAX;
/// Smallest and largest page that a meta is believed to have, bytes. bbolt takes the machine's, 4 to 64 KiB.
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=(1 << 20);

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Branch,
    Leaf,
    Meta,
    Freelist,
}

/// The first bytes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u64,
    /// None for what is no page, as the rest of a longer one.
    pub kind: Option<Kind>,
    pub count: u16,
    /// Pages after this one that belong to it.
    pub overflow: u32,
}

impl Header {
    pub fn read(page: &[u8], order: Order) -> Option<Self> {
        let kind = match order.u16(page, 8)? {
            BRANCH => Some(Kind::Branch),
            LEAF => Some(Kind::Leaf),
            META => Some(Kind::Meta),
            FREELIST => Some(Kind::Freelist),
            _ => None,
        };
        Some(Self {
            id: order.u64(page, 0)?,
            kind,
            count: order.u16(page, 10)?,
            overflow: order.u32(page, 12)?,
        })
    }
}

/// The beginning of the file, of which there are two: the valid one of the newer transaction counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub order: Order,
    /// Bytes.
    pub page_size: usize,
    /// Page of the bucket of buckets.
    pub root: u64,
    /// Page with the list of free pages; none where it is not kept.
    pub freelist: Option<u64>,
    /// Pages of the file.
    pub pages: u64,
    pub transaction: u64,
}

impl Meta {
    /// Reads the meta of a page.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(page: &[u8]) -> Result<Self, String> {
        let meta = page.get(HEADER..HEADER + META_LENGTH + 8).ok_or("it is too short")?;
        let order = [Order::Little, Order::Big].into_iter().find(|order| order.u32(meta, 0) == Some(MAGIC));
        let order = order.ok_or("it does not begin like a bbolt database")?;
        let missing = "it is too short";
        let version = order.u32(meta, 4).ok_or(missing)?;
        if version != VERSION {
            return Err(format!("the format's version is {version}, expected {VERSION}"));
        }
        let (found, sum) = (order.u64(meta, META_LENGTH).ok_or(missing)?, checksum(&meta[..META_LENGTH]));
        if found != sum {
            return Err(format!("its checksum is {found:016x}, expected {sum:016x}"));
        }
        let page_size = order.size(meta, 8).ok_or(missing)?;
        if !PAGE_SIZES.contains(&page_size) || !page_size.is_power_of_two() {
            return Err(format!("its pages have {page_size} bytes"));
        }
        let freelist = order.u64(meta, 32).ok_or(missing)?;
        Ok(Self {
            order,
            page_size,
            root: order.u64(meta, 16).ok_or(missing)?,
            freelist: (freelist != NO_FREELIST).then_some(freelist),
            pages: order.u64(meta, 40).ok_or(missing)?,
            transaction: order.u64(meta, 48).ok_or(missing)?,
        })
    }
}

/// FNV-1a of 64 bits, which bbolt sums a meta with.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A page's bytes, those of its overflow included, with what its header says.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    pub header: Header,
    pub bytes: &'a [u8],
    pub order: Order,
}

/// One element of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub is_bucket: bool,
}

/// A bucket as the value of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket<'a> {
    /// Its tree begins at this page.
    Root(u64),
    /// It is so small that its only page is the rest of the value.
    Inline(&'a [u8]),
}

impl<'a> Page<'a> {
    /// The elements of a leaf with their numbers, in their order.
    ///
    /// bbolt writes one behind the other. Where they overlapped, a small page could be long to read.
    pub fn leaves(self) -> impl Iterator<Item = Result<(u16, Leaf<'a>), String>> {
        let mut end = 0;
        (0..self.header.count).map(move |index| {
            let (begin, leaf) =
                self.leaf(usize::from(index)).filter(|(begin, _)| *begin >= end).ok_or_else(|| {
                    format!("element {index} does not lie within the page behind the one before it")
                })?;
            end = begin + leaf.key.len() + leaf.value.len();
            Ok((index, leaf))
        })
    }

    fn leaf(self, index: usize) -> Option<(usize, Leaf<'a>)> {
        let at = HEADER + index * ELEMENT;
        let [position, key, value] = [4, 8, 12].map(|field| self.order.size(self.bytes, at + field));
        let begin = at.checked_add(position?)?;
        let middle = begin.checked_add(key?)?;
        let end = middle.checked_add(value?)?;
        let leaf = Leaf {
            key: self.bytes.get(begin..middle)?,
            value: self.bytes.get(middle..end)?,
            is_bucket: self.order.u32(self.bytes, at)? & IS_BUCKET != 0,
        };
        Some((begin, leaf))
    }

    /// The first key and the page of each child of a branch, in their order.
    pub fn children(self) -> impl Iterator<Item = Result<(&'a [u8], u64), String>> {
        let mut end = 0;
        (0..self.header.count).map(move |index| {
            let (begin, key, page) =
                self.child(usize::from(index)).filter(|(begin, ..)| *begin >= end).ok_or_else(|| {
                    format!("child {index} does not lie within the page behind the one before it")
                })?;
            end = begin + key.len();
            Ok((key, page))
        })
    }

    fn child(self, index: usize) -> Option<(usize, &'a [u8], u64)> {
        let at = HEADER + index * ELEMENT;
        let begin = at.checked_add(self.order.size(self.bytes, at)?)?;
        let end = begin.checked_add(self.order.size(self.bytes, at + 4)?)?;
        Some((begin, self.bytes.get(begin..end)?, self.order.u64(self.bytes, at + 8)?))
    }

    /// The pages that a freelist names.
    pub fn free(self) -> Option<Vec<u64>> {
        // A count that does not fit is the first of the numbers.
        let (first, count) = match self.header.count {
            u16::MAX => (1, usize::try_from(self.order.u64(self.bytes, HEADER)?).ok()?),
            count => (0, usize::from(count)),
        };
        let numbers = self.bytes.get(HEADER + first * 8..)?.get(..count.checked_mul(8)?)?;
        numbers.chunks_exact(8).map(|number| self.order.u64(number, 0)).collect()
    }
}

impl<'a> Bucket<'a> {
    pub fn read(value: &'a [u8], order: Order) -> Option<Self> {
        Some(match order.u64(value, 0)? {
            0 => Self::Inline(value.get(BUCKET..)?),
            root if value.len() >= BUCKET => Self::Root(root),
            _ => return None,
        })
    }
}
