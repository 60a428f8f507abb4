//! The colour of a person: the same everywhere and for ever, without anybody storing it.

/// Saturation, in per mille.
const SATURATION: i32 = 550;
/// Lightness every 30 degrees of hue, in per mille; between them it goes straight. Chosen so that each hue is as bright
/// as a medium grey: text in it has a contrast of at least 4.2 to 1 on white and on black.
const LIGHTNESS: [i32; 12] = [542, 412, 307, 329, 342, 338, 329, 474, 621, 581, 487, 522];

/// The colour of a user, as `#3d7ab8`.
///
/// The hue in degrees is FNV-1a 32 of the id in UTF-8, through the finalizer of MurmurHash3, modulo 360; saturation is
/// 55 %, lightness follows the hue; then HSL becomes RGB as CSS says, in whole per mille.
pub fn color(user: &str) -> String {
    let [red, green, blue] = rgb(hue(user));
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn hue(user: &str) -> i32 {
    let hash = user.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    // Ids that differ in their last letter alone differ by a multiple of FNV's prime, which is nearly 180 degrees.
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    ((hash ^ (hash >> 16)) % 360) as i32
}

fn rgb(hue: i32) -> [i32; 3] {
    let (at, part) = ((hue / 30) as usize, hue % 30);
    let lightness = (LIGHTNESS[at] * (30 - part) + LIGHTNESS[(at + 1) % 12] * part) / 30;
    let chroma = (1000 - (2 * lightness - 1000).abs()) * SATURATION / 1000;
    let second = chroma * (60 - (hue % 120 - 60).abs()) / 60;
    let base = lightness - chroma / 2;
    let parts = match hue / 60 {
        0 => [chroma, second, 0],
        1 => [second, chroma, 0],
        2 => [0, chroma, second],
        3 => [0, second, chroma],
        4 => [second, 0, chroma],
        _ => [chroma, 0, second],
    };
    parts.map(|part| (part + base) * 255 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance as WCAG 2 defines it.
    fn luminance(rgb: [i32; 3]) -> f64 {
        let [red, green, blue] = rgb.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    #[test]
    fn every_color_is_readable_on_white_and_on_black() {
        for hue in 0..360 {
            let luminance = luminance(rgb(hue));
            let (on_white, on_black) = (1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05);
            assert!(on_white > 4.2 && on_black > 4.2, "{hue}: {on_white} {on_black}");
        }
    }

    #[test]
    fn people_with_similar_ids_look_different() {
        let mut hues: Vec<i32> = (0..1_000).map(|n| hue(&format!("user{n}"))).collect();
        let neighbors = hues.windows(3).filter(|near| (near[0] - near[2]).abs() < 5).count();
        assert!(neighbors < 60, "of a thousand {neighbors} look like the one but next");
        hues.sort_unstable();
        hues.dedup();
        assert!(hues.len() > 320, "{} hues of 360", hues.len());
    }

    #[test]
    fn the_color_of_a_person_never_changes() {
        let users = ["ada", "bo", "", "user-4711", "ädä", "a@b.example"];
        assert_eq!(users.map(color), COLORS);
    }

    const COLORS: [&str; 6] = ["#ca494d", "#8f7429", "#327ead", "#c9456a", "#26836e", "#c439af"];
}
