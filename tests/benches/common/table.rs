//! How is a result shown?
//!
//! As a Markdown table with aligned columns: it reads well on a terminal and can be put into the
//! README as it stands.
//!
//! Rule: about three figures of a number, since the fourth is noise; counts that are whole stay
//! whole.
//!
//! What this does not do: colours, units. The first cell of a row names the unit.
//!
//! Comes from: the three benchmarks. Goes to: standard output.

/// Prints the table; the first row is its head.
pub(crate) fn print(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (place, row) in rows.iter().enumerate() {
        print!("|");
        for (column, width) in widths.iter().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            if column == 0 {
                print!(" {cell:<width$} |");
            } else {
                print!(" {cell:>width$} |");
            }
        }
        println!();
        if place == 0 {
            print!("|");
            for (column, width) in widths.iter().enumerate() {
                let rule = "-".repeat(width + 1);
                print!("{rule}{}|", if column == 0 { "-" } else { ":" });
            }
            println!();
        }
    }
}

/// A number with about three figures, thousands apart; `-` if there is none.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        return "-".to_owned();
    }
    let size = value.abs();
    if size >= 1000.0 {
        return thousands(value);
    }
    let places = if size == value.abs().round() || size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.places$}")
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}
