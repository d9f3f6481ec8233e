//! What does the kernel charge for an echo? Counted by strace, so it does not depend on the machine's speed.
//!
//! Comes from: main.rs. Goes to: strace, the program 10-reactor-bill.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::{Measured, program};

const ECHOES: u32 = 1000;

/// System calls per echo, by name, for the three loops of the chapter.
pub(crate) fn bill() -> Measured {
    let mut table = format!(
        "| system calls per echo ({ECHOES} echoes) | polling, oneshot | polling, edge | runtime |\n|---|---|---|---|\n"
    );
    let bills = ["oneshot", "edge", "runtime"].map(count);
    let bills = bills.into_iter().collect::<Result<Vec<_>, _>>()?;
    let names: std::collections::BTreeSet<_> = bills.iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        let each: Vec<_> = bills
            .iter()
            .map(|bill| f64::from(bill.get(name).copied().unwrap_or(0)) / f64::from(ECHOES))
            .collect();
        // What is done once in a program's life does not belong to an echo.
        if each.iter().any(|each| *each >= 0.5) {
            let cells: Vec<_> = each.iter().map(|each| format!("{each:.1}")).collect();
            table += &format!("| `{name}` | {} |\n", cells.join(" | "));
        }
    }
    let sums = bills.iter().map(|bill| bill.values().sum::<u32>());
    let sums: Vec<_> =
        sums.map(|sum| format!("{:.1}", f64::from(sum) / f64::from(ECHOES))).collect();
    Ok(table + &format!("| all, with the program's start | {} |\n", sums.join(" | ")))
}

fn count(variant: &str) -> Result<BTreeMap<String, u32>, Box<dyn std::error::Error>> {
    let report = std::env::temp_dir().join(format!("bill-{}-{variant}", std::process::id()));
    let status = Command::new("strace")
        .args(["-c", "-o"])
        .arg(&report)
        .arg(program("10-reactor-bill")?)
        .args([variant, &ECHOES.to_string()])
        .status()
        .map_err(|error| format!("strace: {error}"))?;
    let text = fs::read_to_string(&report)?;
    fs::remove_file(&report)?;
    if !status.success() {
        return Err(format!("10-reactor-bill {variant}: {status}").into());
    }
    // Columns: % time, seconds, usecs/call, calls, [errors,] name.
    let rows = text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        Some(((*words.last()?).to_owned(), words.get(3)?.parse().ok()?))
    });
    Ok(rows.filter(|(name, _)| name != "total").collect())
}
