//! A key's budget as it is typed: `1.00 USD/month`.

use policies::NanoDollars;
use router::Window;

const WINDOWS: [Window; 5] = [Window::Hour, Window::Day, Window::Week, Window::Month, Window::Total];

/// Reads `AMOUNT [USD]/WINDOW`; without a window it is `total`.
pub fn parse(text: &str) -> Result<(NanoDollars, Window), String> {
    let wrong = || format!("`{text}` is not a budget; write e.g. \"1.00 USD/month\" (hour, day, week, month, total)");
    let (amount, window) = text.split_once('/').unwrap_or((text, "total"));
    let amount = amount.trim().trim_start_matches('$');
    let amount = amount.strip_suffix("USD").or(amount.strip_suffix("usd")).unwrap_or(amount).trim();
    let amount = NanoDollars::parse(amount).map_err(|_| wrong())?;
    let window = WINDOWS.into_iter().find(|known| known.word() == window.trim());
    Ok((amount, window.ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_as_people_write_them() {
        let dollars = |text: &str| NanoDollars::parse(text).unwrap();
        for (text, amount, window) in [
            ("1.00 USD/month", "1", Window::Month),
            ("$5/day", "5", Window::Day),
            ("0.25", "0.25", Window::Total),
            ("10usd / week", "10", Window::Week),
        ] {
            assert_eq!(parse(text), Ok((dollars(amount), window)), "{text}");
        }
        for bad in ["", "USD", "1/year", "-1/day", "1 EUR/day"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
