//! Prices, and what a call costs by them: whole numbers throughout, rounded once.
//!
//! A price is USD per million tokens, written as a decimal. With nine fraction digits it is a whole number of femto-USD
//! (10^-15) per token, in which all sums are made; a cost is in pico-USD (10^-12).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::usage::Classes;
use super::{TokenClass, Usage};
use crate::limits;

/// Femto-USD per token for each USD per million tokens.
const FEMTO: u64 = 1_000_000_000;
/// Fraction digits of a price.
const FRACTION_DIGITS: usize = 9;

// No cost overflows: every token of both totals at the highest price.
const _: () = assert!(2 * limits::TOKENS as u128 * (limits::PRICE_USD * FEMTO) as u128 / 1000 < u64::MAX as u128);

/// Rates by class, in femto-USD per token; `None` where they are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rates([Option<u64>; TokenClass::ALL.len()]);

/// What tokens of a model cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    rates: Rates,
    /// Other rates for calls with more input tokens than a number; the highest number comes first.
    tiers: Vec<(u64, Rates)>,
    /// As it was written, members that this version does not know included.
    members: Map<String, Value>,
}

/// The member of a price that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PriceError {
    /// The name of a member of ours whose value is wrong.
    Value(&'static str),
    /// It says nothing.
    Empty,
}

/// Other rates from a size of the input on, in a price.
const TIERS: &str = "tiers";
/// That size, in a tier: calls with more input tokens have its rates.
const ABOVE: &str = "above";

impl Price {
    /// From members: a class's name with USD per million tokens, and `tiers` with the same behind `above`.
    pub(crate) fn of(members: Map<String, Value>) -> Result<Self, PriceError> {
        let rates = Rates::of(&members)?;
        let mut tiers = Vec::new();
        match members.get(TIERS) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if items.len() <= limits::PRICE_TIERS => {
                for item in items {
                    let tier = item.as_object().ok_or(PriceError::Value(TIERS))?;
                    let above = tier.get(ABOVE).and_then(Value::as_u64).filter(|above| *above > 0);
                    tiers.push((above.ok_or(PriceError::Value(TIERS))?, Rates::of(tier)?));
                }
            }
            Some(_) => return Err(PriceError::Value(TIERS)),
        }
        tiers.sort_unstable_by_key(|(above, _)| std::cmp::Reverse(*above));
        if rates == Rates::default() {
            return Err(PriceError::Empty);
        }
        Ok(Self { rates, tiers, members })
    }

    /// Whether a member of that name means something to this version.
    pub(crate) fn knows(name: &str) -> bool {
        name == TIERS || TokenClass::named(name).is_some()
    }

    /// Whether the members of its tiers mean something to this version.
    pub(crate) fn knows_tiers(&self) -> bool {
        let tiers = self.members.get(TIERS).and_then(Value::as_array);
        let mut names = tiers.into_iter().flatten().filter_map(Value::as_object).flat_map(Map::keys);
        names.all(|name| name == ABOVE || TokenClass::named(name).is_some())
    }

    /// As it was written.
    pub(crate) const fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// What a call costs, in pico-USD; `None` if it has tokens whose rate is not known.
    pub(crate) fn cost(&self, usage: &Usage) -> Option<u64> {
        let classes = usage.classes();
        let tier = self.tiers.iter().find(|(above, _)| usage.input_tokens > *above);
        tier.map_or(&self.rates, |(_, rates)| rates).cost(&classes)
    }
}

impl Rates {
    fn of(members: &Map<String, Value>) -> Result<Self, PriceError> {
        let mut rates = Self::default();
        for class in TokenClass::ALL {
            let written = match members.get(class.as_str()) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => rate(text),
                Some(Value::Number(number)) => rate(&number.to_string()),
                Some(_) => None,
            };
            if let Some(place) = rates.0.get_mut(class as usize) {
                *place = Some(written.ok_or(PriceError::Value(class.as_str()))?);
            }
        }
        Ok(rates)
    }

    /// The rate of a class. Reasoning is billed as output and images as input where they have no rate of their own;
    /// sound and what is cached never are.
    fn get(&self, class: TokenClass) -> Option<u64> {
        let own = self.0.get(class as usize).copied().flatten();
        match class {
            TokenClass::Reasoning => own.or_else(|| self.get(TokenClass::Output)),
            TokenClass::InputImage => own.or_else(|| self.get(TokenClass::Input)),
            _ => own,
        }
    }

    fn cost(&self, classes: &Classes) -> Option<u64> {
        let mut femto: u128 = 0;
        for (class, count) in classes.iter().filter(|(_, count)| *count > 0) {
            femto += u128::from(count) * u128::from(self.get(class)?);
        }
        // Rounded once, half up.
        u64::try_from((femto + 500) / 1000).ok()
    }
}

/// A decimal number of USD per million tokens in femto-USD per token; `None` if it is none, or over the limit.
fn rate(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > FRACTION_DIGITS {
        return None;
    }
    let scale = 10_u64.checked_pow(u32::try_from(FRACTION_DIGITS - fraction.len()).ok()?)?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(FEMTO)?;
    let rate = whole.checked_add(fraction.parse::<u64>().ok()?.checked_mul(scale)?)?;
    (rate <= limits::PRICE_USD * FEMTO).then_some(rate)
}

/// A price and where it is from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tariff {
    /// The price.
    pub price: Arc<Price>,
    /// What a cost is filed under, so that it can be worked out again when prices turn out wrong: the version of a
    /// price book, or `tenant:` and the version of the tenant's configuration.
    pub version: Arc<str>,
}

/// What a call costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// In pico-USD (10^-12).
    pub pico_usd: u64,
    /// See [`Tariff::version`].
    pub version: Arc<str>,
}

impl Tariff {
    /// What a call costs; `None` if it has tokens whose rate is not known. An unknown price is never 0.
    pub(crate) fn cost(&self, usage: &Usage) -> Option<Cost> {
        let pico_usd = self.price.cost(usage)?;
        Some(Cost { pico_usd, version: Arc::clone(&self.version) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn price(value: Value) -> Result<Price, PriceError> {
        let Value::Object(members) = value else { panic!("no object") };
        Price::of(members)
    }

    fn gpt() -> Price {
        price(json!({"input": "2.50", "cache_read": "1.25", "output": 10})).unwrap()
    }

    #[test]
    fn a_rate_is_a_plain_decimal() {
        for (text, want) in [
            ("0", Some(0)),
            ("1", Some(FEMTO)),
            ("2.50", Some(2_500_000_000)),
            ("0.000000001", Some(1)),
            ("10000", Some(10_000 * FEMTO)),
            ("10000.000000000", Some(10_000 * FEMTO)),
            ("10000.000000001", None),
            ("0.0000000001", None),
            ("99999999999999999999", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("1,5", None),
            (" 1", None),
            ("NaN", None),
            ("1.2.3", None),
        ] {
            assert_eq!(rate(text), want, "{text:?}");
        }
    }

    #[test]
    fn every_class_is_billed_at_its_own_rate_and_once() {
        let usage = Usage {
            input_tokens: 1_000,
            output_tokens: 100,
            cache_read_tokens: Some(400),
            reasoning_tokens: Some(60),
            ..Usage::default()
        };
        // 600 at 2.50, 400 at 1.25, 100 at 10, each per million, in 10^-12.
        assert_eq!(gpt().cost(&usage), Some(600 * 2_500_000 + 400 * 1_250_000 + 100 * 10_000_000));
        assert_eq!(gpt().cost(&Usage::default()), Some(0));
    }

    #[test]
    fn what_has_no_rate_has_no_cost() {
        let used = |usage: Usage| gpt().cost(&Usage { input_tokens: 10, output_tokens: 10, ..usage });
        assert!(used(Usage { cache_write_tokens: Some(0), ..Usage::default() }).is_some());
        for unknown in [
            Usage { cache_write_tokens: Some(1), ..Usage::default() },
            Usage { cache_write_tokens: Some(1), cache_write_1h_tokens: Some(1), ..Usage::default() },
            Usage { input_audio_tokens: Some(1), ..Usage::default() },
            Usage { output_audio_tokens: Some(1), ..Usage::default() },
        ] {
            assert_eq!(used(unknown), None, "{unknown:?}");
        }
        assert_eq!(used(Usage { input_image_tokens: Some(10), ..Usage::default() }), used(Usage::default()));
    }

    #[test]
    fn sums_are_exact_and_rounded_once() {
        let tiny = price(json!({"input": "0.0000004", "output": "0.0000001"})).unwrap();
        let cost = |input_tokens, output_tokens| tiny.cost(&Usage { input_tokens, output_tokens, ..Usage::default() });
        // 0.4 and 0.1 pico-USD a token: each alone would round to nothing.
        assert_eq!((cost(1, 0), cost(0, 1), cost(1, 1), cost(2, 7)), (Some(0), Some(0), Some(1), Some(2)));
    }

    #[test]
    fn long_inputs_have_their_own_rates() {
        let price = price(json!({"input": "1", "output": "1", "tiers": [
            {"above": 100, "input": "2", "output": "3"}, {"above": 1000, "input": "5"}]}))
        .unwrap();
        let cost = |input_tokens, output_tokens| {
            price.cost(&Usage { input_tokens, output_tokens, ..Usage::default() }).map(|pico| pico / 1_000_000)
        };
        assert_eq!((cost(100, 10), cost(101, 10), cost(1000, 0)), (Some(110), Some(232), Some(2000)));
        assert_eq!((cost(1001, 0), cost(1001, 1)), (Some(5005), None));
    }

    #[test]
    fn wrong_prices_are_told_by_their_member() {
        for (wrong, error) in [
            (json!({"input": "-1"}), PriceError::Value("input")),
            (json!({"input": "1", "output": true}), PriceError::Value("output")),
            (json!({"cache_read": 1e-7}), PriceError::Value("cache_read")),
            (json!({"input": "1", "tiers": {}}), PriceError::Value("tiers")),
            (json!({"input": "1", "tiers": [{"input": "1"}]}), PriceError::Value("tiers")),
            (json!({"input": "1", "tiers": [{"above": 0}]}), PriceError::Value("tiers")),
            (json!({"input": "1", "tiers": [{"above": 1, "input": []}]}), PriceError::Value("input")),
            (
                json!({"input": "1", "tiers": vec![json!({"above": 1}); limits::PRICE_TIERS + 1]}),
                PriceError::Value("tiers"),
            ),
            (json!({}), PriceError::Empty),
            (json!({"input": null}), PriceError::Empty),
        ] {
            assert_eq!(price(wrong.clone()), Err(error), "{wrong}");
        }
        assert!(price(json!({"input": 0.25, "tiers": vec![json!({"above": 1}); limits::PRICE_TIERS]})).is_ok());
    }

    #[test]
    fn the_dearest_call_has_a_cost() {
        let most = Value::from(limits::PRICE_USD);
        let members = TokenClass::ALL.into_iter().map(|class| (class.as_str().to_owned(), most.clone())).collect();
        let usage = Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() };
        let want = 2 * limits::TOKENS * limits::PRICE_USD * 1_000_000;
        assert_eq!(Price::of(members).unwrap().cost(&usage), Some(want));
    }

    #[test]
    fn a_cost_is_the_sum_of_its_classes() {
        // Any numbers do; these are Knuth's.
        let mut state = 1_u64;
        let mut next = |bits: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> (64 - bits)
        };
        for _ in 0..1_000 {
            let counts = TokenClass::ALL.map(|_| next(20));
            let rates = TokenClass::ALL.map(|_| next(24));
            let [_, read, five, hour, audio, image, _, reasoning, spoken] = counts;
            let usage = Usage {
                input_tokens: counts[..6].iter().sum(),
                output_tokens: counts[6..].iter().sum(),
                cache_read_tokens: Some(read),
                cache_write_tokens: Some(five + hour),
                cache_write_1h_tokens: Some(hour),
                input_audio_tokens: Some(audio),
                input_image_tokens: Some(image),
                reasoning_tokens: Some(reasoning),
                output_audio_tokens: Some(spoken),
                ..Usage::default()
            };
            assert_eq!(usage.classes().iter().map(|(_, count)| count).collect::<Vec<_>>(), counts);
            let text = |micro: u64| format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
            let members = TokenClass::ALL.into_iter().zip(rates);
            let members = members.map(|(class, rate)| (class.as_str().to_owned(), text(rate).into())).collect();
            // A millionth of a USD per million tokens is a pico-USD per token.
            let want: u64 = counts.iter().zip(rates).map(|(count, rate)| count * rate).sum();
            assert_eq!(Price::of(members).unwrap().cost(&usage), Some(want));
        }
    }
}
