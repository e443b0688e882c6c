//! Reads durations as Go does: `1h30m`, `90s`, `-1.5h`.

/// One more than the nanoseconds that Go can count.
const LIMIT: u64 = 1 << 63;

/// Reads how many whole seconds lie between two runs: at least one, whatever is written.
pub fn whole_seconds(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let nanoseconds = if unsigned == "0" { 0 } else { sum(unsigned)? };
    if text.starts_with('-') {
        return Some(1);
    }
    let nanoseconds = i64::try_from(nanoseconds).ok()?;
    Some((nanoseconds / 1_000_000_000).max(1))
}

/// Adds up parts such as `1h` and `30m`, of which there must be one.
fn sum(text: &str) -> Option<u64> {
    let (mut total, mut rest) = part(text)?;
    while !rest.is_empty() {
        let (nanoseconds, after) = part(rest)?;
        // Twice the limit is zero again, in Go too.
        total = total.wrapping_add(nanoseconds);
        if total > LIMIT {
            return None;
        }
        rest = after;
    }
    Some(total)
}

/// Reads the first part: its nanoseconds, and what follows it.
fn part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|character: char| character == '.' || character.is_ascii_digit());
    let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let unit = nanoseconds_of(name)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let total = whole.checked_mul(unit)?.checked_add(fraction_of(unit, fraction))?;
    (total <= LIMIT).then_some((total, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()))
}

fn nanoseconds_of(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        // The sign of the unit, and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

/// The part of a unit that the digits after the point make, rounded as in Go; what does not fit is dropped.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what Go loses here is lost here too"
)]
fn fraction_of(unit: u64, digits: &str) -> u64 {
    let (mut value, mut scale) = (0_u64, 1_f64);
    for digit in digits.bytes().map(|digit| u64::from(digit - b'0')) {
        if value > (LIMIT - 1) / 10 || value * 10 + digit > LIMIT {
            break;
        }
        value = value * 10 + digit;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}
