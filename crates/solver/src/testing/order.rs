//! Whether what a job told is in the order that [`Status`](crate::Status) promises.

use std::collections::BTreeMap;

use crate::{Event, What};

/// What each vertex told, in short: progress, logs and warnings are left out.
#[must_use]
pub fn told(events: &[Event]) -> BTreeMap<String, Vec<&'static str>> {
    let mut told: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for event in events {
        let (Some(vertex), Some(word)) = (&event.vertex, word(&event.what)) else { continue };
        told.entry(vertex.name.to_string()).or_default().push(word);
    }
    told
}

fn word(what: &What) -> Option<&'static str> {
    Some(match what {
        What::Started => "started",
        What::Stopped => "stopped",
        What::Cached => "cached",
        What::Preparing => "preparing",
        What::Prepared => "prepared",
        What::Completed => "completed",
        What::Failed(_) => "failed",
        What::Lost(_) => "lost",
        What::Progress(_) | What::Log(_) | What::Dropped { .. } | What::Warning(_) => return None,
    })
}

/// Every vertex whose events are not in order, with what it told.
#[must_use]
pub fn disorder(events: &[Event]) -> Vec<String> {
    let told = told(events);
    let wrong = told.into_iter().filter(|(_, words)| !is_in_order(words) || !take_turns(words));
    wrong.map(|(vertex, words)| format!("{vertex}: {}", words.join(", "))).collect()
}

/// Whether runs begin and end, and lives end by a loss.
fn is_in_order(words: &[&str]) -> bool {
    let mut words = words.iter().copied().filter(|word| !word.starts_with("prepar")).peekable();
    loop {
        // A life: it waits, may be cached, may run and stop any number of times, and has a result or does not yet.
        let mut cached = false;
        loop {
            match words.next() {
                None => return true,
                Some("failed") => return words.next().is_none(),
                Some("lost") => break,
                Some("cached") if !cached => cached = true,
                Some("started") => {
                    cached = false;
                    while words.next_if_eq(&"lost").is_some() {}
                    match words.next() {
                        None => return true,
                        Some("failed") => return words.next().is_none(),
                        Some("stopped") => {}
                        Some("completed") => match words.next() {
                            None => return true,
                            Some("failed") => return words.next().is_none(),
                            Some("lost") => break,
                            Some(_) => return false,
                        },
                        Some(_) => return false,
                    }
                }
                Some(_) => return false,
            }
        }
    }
}

/// Whether preparations begin and end by turns.
fn take_turns(words: &[&str]) -> bool {
    let preparations = words.iter().filter(|word| word.starts_with("prepar"));
    preparations.enumerate().all(|(at, word)| *word == ["preparing", "prepared"][at % 2])
}

#[cfg(test)]
mod tests {
    use super::{is_in_order, take_turns};

    #[test]
    fn what_is_out_of_order_is_seen() {
        for legal in [
            "",
            "cached",
            "started completed",
            "started stopped cached started completed failed",
            "cached lost started lost completed lost cached",
            "started stopped started failed",
            "failed",
            "lost started",
        ] {
            assert!(is_in_order(&legal.split_whitespace().collect::<Vec<_>>()), "{legal}");
        }
        for illegal in [
            "completed",
            "stopped",
            "started started",
            "started cached",
            "started completed cached",
            "started completed started",
            "cached cached",
            "failed failed",
            "failed started",
            "cached completed",
            "started completed failed lost",
        ] {
            assert!(!is_in_order(&illegal.split_whitespace().collect::<Vec<_>>()), "{illegal}");
        }
        assert!(take_turns(&["preparing", "started", "prepared", "preparing"]));
        assert!(!take_turns(&["prepared"]) && !take_turns(&["preparing", "cached", "preparing"]));
    }
}
