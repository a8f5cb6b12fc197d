//! A key's budget as it is typed: `1.00 USD/month`, `100000 tokens/day`.

use policies::{Measure, NanoDollars};
use router::Window;
use router::ledger::KeyBudget;

const WINDOWS: [Window; 5] = [Window::Hour, Window::Day, Window::Week, Window::Month, Window::Total];

/// Reads `AMOUNT [USD]/WINDOW` or `COUNT tokens/WINDOW`; without a window it is `total`.
pub fn parse(text: &str) -> Result<KeyBudget, String> {
    let wrong = || {
        format!(
            "`{text}` is not a budget; write e.g. \"1.00 USD/month\" or \"100000 tokens/day\" \
             (hour, day, week, month, total)"
        )
    };
    let (amount, window) = text.split_once('/').unwrap_or((text, "total"));
    let window = WINDOWS.into_iter().find(|known| known.word() == window.trim()).ok_or_else(wrong)?;
    let amount = amount.trim();
    let count = amount.strip_suffix("tokens").or(amount.strip_suffix("token"));
    let (measure, limit) = match count.map(str::trim) {
        Some(count) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
            (Measure::Tokens, count.parse().map_err(|_| wrong())?)
        }
        Some(_) => return Err(wrong()),
        None => {
            let amount = amount.trim_start_matches('$');
            let amount = amount.strip_suffix("USD").or(amount.strip_suffix("usd")).unwrap_or(amount).trim();
            (Measure::Money, NanoDollars::parse(amount).map_err(|_| wrong())?.0)
        }
    };
    Ok(KeyBudget { measure, limit, window })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_as_people_write_them() {
        let dollars = |text: &str| NanoDollars::parse(text).unwrap().0;
        for (text, measure, limit, window) in [
            ("1.00 USD/month", Measure::Money, dollars("1"), Window::Month),
            ("$5/day", Measure::Money, dollars("5"), Window::Day),
            ("0.25", Measure::Money, dollars("0.25"), Window::Total),
            ("10usd / week", Measure::Money, dollars("10"), Window::Week),
            ("100000 tokens/day", Measure::Tokens, 100_000, Window::Day),
            ("5tokens", Measure::Tokens, 5, Window::Total),
        ] {
            assert_eq!(parse(text), Ok(KeyBudget { measure, limit, window }), "{text}");
        }
        for bad in [
            "",
            "USD",
            "1/year",
            "-1/day",
            "1 EUR/day",
            "tokens/day",
            "1.5 tokens/day",
            "-1 tokens",
            "1 USD tokens/day",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
