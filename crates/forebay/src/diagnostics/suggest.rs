//! The nearest name: what somebody probably meant.

/// The candidate that is most like `name`, unless nothing is like it.
///
/// Two thirds of a name may differ at most one letter in three, which catches slips of the finger and left-out words
/// without offering something unrelated.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    let name = name.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&name, &candidate.to_ascii_lowercase());
            // A key whose beginning or end was left out is far away in letters and near in meaning.
            let part =
                name.len() >= 4 && (candidate.starts_with(&name) || candidate.ends_with(&name));
            (
                if part {
                    distance.min(allowed)
                } else {
                    distance
                },
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_none() {
        let keys = [
            "linger",
            "ordering",
            "endpoint",
            "inflight_per_lane",
            "rate_limit",
        ];
        assert_eq!(nearest("lingr", keys), Some("linger"));
        assert_eq!(nearest("Endpoint", keys), Some("endpoint"));
        assert_eq!(nearest("inflight", keys), Some("inflight_per_lane"));
        assert_eq!(nearest("ratelimit", keys), Some("rate_limit"));
        assert_eq!(nearest("colour", keys), None);
    }
}
