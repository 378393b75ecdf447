//! Bodies compressed for whoever asks for that, chosen as Prometheus' own handler does.

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use std::io::Write;

/// True if the header prefers gzip to the plain text. Of two that are liked alike, plain text is taken.
pub(super) fn prefers_gzip(accept_encoding: Option<&HeaderValue>) -> bool {
    let text = accept_encoding.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let liking = |encoding: &str| {
        let wanted = text.split(',').map(split).filter(|(name, _)| *name == "*" || *name == encoding);
        wanted.map(|(_, quality)| quality).fold(0.0, f64::max)
    };
    liking("gzip") > liking("identity")
}

/// A name and its quality, 1 if none is given.
fn split(spec: &str) -> (&str, f64) {
    let (name, parameters) = spec.split_once(';').unwrap_or((spec, ""));
    let quality = parameters.trim().strip_prefix("q=").map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0));
    (name.trim(), quality)
}

pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_chosen_by_who_prefers_it() {
        let prefers = |text: &'static str| prefers_gzip(Some(&HeaderValue::from_static(text)));
        for yes in ["gzip", "deflate, gzip", "gzip;q=0.5", "br;q=1.0, gzip ; q=0.8", "gzip, identity;q=0.3"] {
            assert!(prefers(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "br", "*", "gzip, identity", "gzip;q=much"] {
            assert!(!prefers(no), "{no}");
        }
        assert!(!prefers_gzip(None));
    }
}
