//! Pairs of figures, and how they are shown.
use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;

/// One kind of work at one size: ours beside theirs.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Bytes of the database, or connections, for people.
    pub size: String,
    /// What was measured.
    pub work: &'static str,
    /// Unit of both.
    pub unit: &'static str,
    /// Median of our runs.
    pub ours: f64,
    /// Median of theirs.
    pub theirs: f64,
    /// Median of the ratios of the pairs: a machine that slows down slows both of a pair.
    pub ratio: f64,
    /// Least and most of ours.
    pub ours_spread: [f64; 2],
    /// Least and most of theirs.
    pub theirs_spread: [f64; 2],
    /// Least and most of the ratios.
    pub ratio_spread: [f64; 2],
    /// How many pairs.
    pub pairs: usize,
}

impl Row {
    /// Out of pairs of ours and theirs.
    ///
    /// # Errors
    ///
    /// Where there is no pair, since there is no median of nothing.
    pub fn of(size: &str, work: &'static str, unit: &'static str, pairs: &[(f64, f64)]) -> Result<Self> {
        let ours = Spread::of(pairs.iter().map(|pair| pair.0)).context("no run")?;
        let theirs = Spread::of(pairs.iter().map(|pair| pair.1)).context("no run")?;
        let ratios = pairs.iter().filter(|pair| pair.1 > 0.0).map(|pair| pair.0 / pair.1);
        let ratio = Spread::of(ratios).with_context(|| format!("{work}: theirs is nothing"))?;
        Ok(Self {
            size: size.to_owned(),
            work,
            unit,
            ours: ours.median,
            theirs: theirs.median,
            ratio: ratio.median,
            ours_spread: ours.range,
            theirs_spread: theirs.range,
            ratio_spread: ratio.range,
            pairs: pairs.len(),
        })
    }
}

struct Spread {
    median: f64,
    range: [f64; 2],
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, range: [first, last] })
    }
}

/// The figure that as many of a hundred are not above.
pub fn percentile(figures: &mut [f64], of_hundred: usize) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let index = (figures.len() * of_hundred).div_ceil(100).checked_sub(1)?;
    figures.get(index).copied()
}

/// Prints a table, or one JSON object a row.
pub fn print<R: Serialize>(rows: &[R], json: bool, table: impl FnOnce(&[R]) -> String) -> Result<()> {
    let text = if json {
        rows.iter().map(|row| Ok(serde_json::to_string(row)? + "\n")).collect::<Result<String>>()?
    } else {
        table(rows)
    };
    std::io::stdout().write_all(text.as_bytes()).context("failed to print the figures")
}

/// For people.
pub fn table(rows: &[Row]) -> String {
    let head = format!(
        "{:<15} {:<14} {:>24} {:>24} {:>18}\n",
        "size", "work", "ours (least-most)", "theirs (least-most)", "ratio (least-most)"
    );
    let lines = rows.iter().map(|row| {
        let figure = |median: f64, [least, most]: [f64; 2]| {
            format!("{} {} ({}-{})", short(median), row.unit, short(least), short(most))
        };
        let [least, most] = row.ratio_spread;
        format!(
            "{:<15} {:<14} {:>24} {:>24} {:>18}\n",
            row.size,
            row.work,
            figure(row.ours, row.ours_spread),
            figure(row.theirs, row.theirs_spread),
            format!("{:.2} ({least:.2}-{most:.2})", row.ratio),
        )
    });
    head + &lines.collect::<String>()
}

/// Three digits, or all that are before the point.
pub fn short(figure: f64) -> String {
    match figure {
        _ if figure >= 100.0 => format!("{figure:.0}"),
        _ if figure >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_the_ratio_of_the_middle_pair() {
        let row = Row::of("1.3 GB", "wall", "s", &[(2.0, 4.0), (9.0, 9.0), (3.0, 10.0)]).expect("pairs");
        assert_eq!((row.ours, row.theirs, row.ratio), (3.0, 9.0, 0.5));
        assert_eq!((row.ours_spread, row.ratio_spread), ([2.0, 9.0], [0.3, 1.0]));
        assert!(table(&[row]).contains("0.50 (0.30-1.00)"));
    }

    #[test]
    fn what_was_never_measured_has_no_row() {
        assert!(Row::of("", "wall", "s", &[]).is_err());
        assert!(Row::of("", "wall", "s", &[(1.0, 0.0)]).is_err());
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let mut figures: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut figures, 99), Some(198.0));
        assert_eq!(percentile(&mut [7.0], 99), Some(7.0));
        assert_eq!(percentile(&mut [], 99), None);
    }
}
