//! What of a stored object is read: who it is.

/// What API servers put before an object that they store as protobuf.
const PROTOBUF: &[u8] = b"k8s\0";
/// Field of `runtime.Unknown` with the object itself, of each object its `metadata`, and of that `uid`:
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>.
const UID: [u64; 3] = [2, 1, 5];
/// Longest uid that is believed, bytes: one has 36.
const LONGEST: usize = 63;

/// The uid of an object, as the API server stored it. None for what cannot be read: what is encrypted, or JSON.
pub fn uid(value: &[u8]) -> Option<String> {
    let found =
        UID.iter().try_fold(value.strip_prefix(PROTOBUF)?, |message, number| field(message, *number))?;
    let is_uid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let is_plain = !found.is_empty() && found.len() <= LONGEST && found.iter().all(is_uid);
    is_plain.then(|| String::from_utf8_lossy(found).into_owned())
}

/// The bytes of a field of a protobuf message that is a text or a message itself.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let length = match tag & 7 {
            0 => varint(&mut message).map(|_| 0)?,
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = message.split_at_checked(length)?;
        if tag >> 3 == wanted && tag & 7 == 2 {
            return Some(value);
        }
        message = rest;
    }
    None
}

/// Takes a number from the beginning of a message.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const UID: &str = "11111111-2222-3333-4444-555555555555";

    /// A text or message in a field, shorter than 128 bytes.
    fn part(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(value.len()).expect("short")], value].concat()
    }

    /// A Namespace as an API server stores it, with this uid.
    fn namespace(uid: &str) -> Vec<u8> {
        let metadata =
            [part(1, b"kube-system"), part(2, b""), part(3, b""), part(4, b""), part(5, uid.as_bytes())];
        let type_meta = [part(1, b"v1"), part(2, b"Namespace")].concat();
        let object = [part(1, &metadata.concat()), part(3, &part(1, b"Active"))].concat();
        [PROTOBUF.to_vec(), part(1, &type_meta), part(2, &object), part(3, b""), part(4, b"")].concat()
    }

    #[test]
    fn a_stored_namespace_has_its_uid() {
        assert_eq!(uid(&namespace(UID)).as_deref(), Some(UID));
    }

    #[test]
    fn numbers_before_the_field_are_passed_over() {
        let numbers = [&[1 << 3, 0x96, 0x01][..], &[2 << 3 | 1], &[7; 8], &[3 << 3 | 5], &[7; 4]].concat();
        assert_eq!(field(&[numbers, part(5, b"x")].concat(), 5), Some(&b"x"[..]));
    }

    #[rstest]
    #[case::encrypted(b"k8s:enc:aescbc:v1:key1:\x01".to_vec())]
    #[case::json(br#"{"metadata":{"uid":"1"}}"#.to_vec())]
    #[case::none_in_it(namespace(""))]
    #[case::no_word(namespace("a,b"))]
    #[case::far_too_long(namespace(&"a".repeat(64)))]
    #[case::nothing(Vec::new())]
    fn what_has_none_that_can_be_believed(#[case] value: Vec<u8>) {
        assert_eq!(uid(&value), None);
    }

    #[test]
    fn a_value_that_is_cut_off_anywhere_has_none() {
        let whole = namespace(UID);
        let end =
            whole.windows(UID.len()).position(|part| part == UID.as_bytes()).expect("there") + UID.len();
        (0..end).for_each(|length| assert_eq!(uid(&whole[..length]), None, "of {length} bytes"));
    }

    #[test]
    fn a_number_without_end_is_none() {
        assert_eq!(field(&[0xff; 30], 1), None);
    }
}
