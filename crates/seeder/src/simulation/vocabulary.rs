//! Words the shop is made of. No tabs, line breaks or backslashes: they go into COPY text as they are (a test checks).

pub(super) const FIRST_NAMES: [&str; 64] = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Elif",
    "Felix",
    "Greta",
    "Hannes",
    "Ida",
    "Jonas",
    "Katharina",
    "Lukas",
    "Mia",
    "Noah",
    "Olivia",
    "Paul",
    "Quentin",
    "Rosa",
    "Samuel",
    "Theresa",
    "Umut",
    "Valentin",
    "Wanda",
    "Xaver",
    "Yara",
    "Zoë",
    "Adèle",
    "Björn",
    "Chiara",
    "Dimitri",
    "Emre",
    "Freya",
    "Giulia",
    "Henrik",
    "Ines",
    "Jürgen",
    "Karolina",
    "Leon",
    "Marta",
    "Nils",
    "Ottilie",
    "Piotr",
    "Ronja",
    "Søren",
    "Tilda",
    "Ulrike",
    "Viktor",
    "Willem",
    "Aylin",
    "Bruno",
    "Camille",
    "Dorothea",
    "Elias",
    "Frieda",
    "Gustav",
    "Helene",
    "Ivan",
    "Johanna",
    "Kilian",
    "Lena",
    "Matteo",
    "Nora",
    "Oskar",
    "Pauline",
];

pub(super) const LAST_NAMES: [&str; 64] = [
    "Müller",
    "Schmidt",
    "Schneider",
    "Fischer",
    "Weber",
    "Meyer",
    "Wagner",
    "Becker",
    "Schulz",
    "Hoffmann",
    "Koch",
    "Bauer",
    "Richter",
    "Klein",
    "Wolf",
    "Schröder",
    "Neumann",
    "Schwarz",
    "Zimmermann",
    "Braun",
    "Krüger",
    "Hofmann",
    "Hartmann",
    "Lange",
    "Schmitt",
    "Werner",
    "Krause",
    "Lehmann",
    "Köhler",
    "Maier",
    "Seidel",
    "Brandt",
    "Rossi",
    "Bianchi",
    "Dubois",
    "Laurent",
    "Moreau",
    "Nowak",
    "Kowalski",
    "Wiśniewska",
    "Novák",
    "Svoboda",
    "Jansen",
    "de Vries",
    "van Dijk",
    "Andersen",
    "Nielsen",
    "Larsson",
    "Lindqvist",
    "Virtanen",
    "Korhonen",
    "García",
    "Fernández",
    "Silva",
    "Santos",
    "Yılmaz",
    "Demir",
    "Kaya",
    "O'Brien",
    "Murphy",
    "Steiner",
    "Gruber",
    "Keller",
    "Baumann",
];

pub(super) const CITIES: [(u32, (&str, &str)); 32] = [
    (18, ("Berlin", "Germany")),
    (12, ("Hamburg", "Germany")),
    (11, ("München", "Germany")),
    (8, ("Köln", "Germany")),
    (6, ("Frankfurt am Main", "Germany")),
    (5, ("Leipzig", "Germany")),
    (4, ("Dresden", "Germany")),
    (3, ("Konstanz", "Germany")),
    (3, ("Lindau", "Germany")),
    (2, ("Schwerin", "Germany")),
    (2, ("Starnberg", "Germany")),
    (9, ("Wien", "Austria")),
    (3, ("Graz", "Austria")),
    (2, ("Bregenz", "Austria")),
    (2, ("Hallstatt", "Austria")),
    (7, ("Zürich", "Switzerland")),
    (4, ("Genève", "Switzerland")),
    (3, ("Luzern", "Switzerland")),
    (6, ("Amsterdam", "Netherlands")),
    (3, ("Utrecht", "Netherlands")),
    (6, ("Paris", "France")),
    (3, ("Lyon", "France")),
    (2, ("Annecy", "France")),
    (4, ("Milano", "Italy")),
    (3, ("Como", "Italy")),
    (4, ("Warszawa", "Poland")),
    (2, ("Gdańsk", "Poland")),
    (3, ("Praha", "Czechia")),
    (3, ("København", "Denmark")),
    (3, ("Stockholm", "Sweden")),
    (2, ("Helsinki", "Finland")),
    (2, ("Tampere", "Finland")),
];

pub(super) const STREETS: [&str; 24] = [
    "Seestraße",
    "Hauptstraße",
    "Bahnhofstraße",
    "Gartenweg",
    "Am Ufer",
    "Lindenallee",
    "Schulstraße",
    "Bergstraße",
    "Kirchgasse",
    "Uferpromenade",
    "Rosenweg",
    "Mühlenweg",
    "Marktplatz",
    "Birkenweg",
    "Waldstraße",
    "Hafenstraße",
    "Wiesengrund",
    "Fährgasse",
    "Sonnenhang",
    "Kastanienallee",
    "Am Steg",
    "Brückenstraße",
    "Schilfweg",
    "Inselstraße",
];

/// A category, its goods, and the range of their prices in cents.
#[derive(Clone, Copy)]
pub(super) struct Category {
    pub(super) name: &'static str,
    pub(super) goods: &'static [&'static str],
    pub(super) price_cents: (i64, i64),
}

pub(super) const CATEGORIES: [Category; 8] = [
    Category {
        name: "Furniture",
        goods: &["Chair", "Table", "Shelf", "Bench", "Desk", "Stool", "Wardrobe"],
        price_cents: (3900, 89900),
    },
    Category {
        name: "Kitchen",
        goods: &["Pan", "Knife", "Kettle", "Mug", "Bowl", "Cutting Board", "Teapot"],
        price_cents: (690, 14900),
    },
    Category {
        name: "Garden",
        goods: &["Lantern", "Planter", "Hammock", "Rake", "Watering Can", "Parasol"],
        price_cents: (990, 24900),
    },
    Category {
        name: "Outdoor",
        goods: &["Tent", "Backpack", "Sleeping Bag", "Lamp", "Bottle", "Paddle"],
        price_cents: (1490, 39900),
    },
    Category {
        name: "Electronics",
        goods: &["Speaker", "Headphones", "Charger", "Radio", "Camera", "Keyboard"],
        price_cents: (1990, 69900),
    },
    Category {
        name: "Books",
        goods: &["Atlas", "Novel", "Cookbook", "Field Guide", "Notebook"],
        price_cents: (590, 4990),
    },
    Category {
        name: "Clothing",
        goods: &["Jacket", "Scarf", "Sweater", "Boots", "Raincoat", "Cap"],
        price_cents: (1290, 27900),
    },
    Category {
        name: "Toys",
        goods: &["Boat", "Kite", "Puzzle", "Blocks", "Board Game", "Plush Otter"],
        price_cents: (490, 8990),
    },
];

pub(super) const STYLES: [&str; 20] = [
    "Lakeside", "Nordic", "Alpine", "Vintage", "Modern", "Rustic", "Classic", "Compact", "Foldable", "Handmade",
    "Summer", "Winter", "Light", "Sturdy", "Quiet", "Bright", "Golden", "Wild", "Little", "Grand",
];

pub(super) const MATERIALS: [&str; 16] = [
    "Oak", "Beech", "Steel", "Copper", "Linen", "Wool", "Cotton", "Ceramic", "Glass", "Bamboo", "Leather", "Felt",
    "Granite", "Walnut", "Enamel", "Cork",
];

pub(super) const PAYMENT_METHODS: [(u32, &str); 5] =
    [(38, "credit_card"), (30, "paypal"), (15, "sepa_debit"), (12, "invoice"), (5, "gift_card")];

pub(super) const MAIL_HOSTS: [&str; 5] = ["example.com", "example.org", "example.net", "mail.example", "post.example"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_needs_escaping_in_copy_text() {
        let goods = CATEGORIES.iter().flat_map(|category| category.goods.iter().chain([&category.name]));
        let cities = CITIES.iter().flat_map(|(_, (city, country))| [city, country]);
        let methods = PAYMENT_METHODS.iter().map(|(_, method)| method);
        let words =
            FIRST_NAMES.iter().chain(&LAST_NAMES).chain(&STREETS).chain(&STYLES).chain(&MATERIALS).chain(&MAIL_HOSTS);
        for word in words.chain(goods).chain(cities).chain(methods) {
            assert!(!word.is_empty() && !word.contains(['\t', '\n', '\r', '\\']), "{word}");
        }
    }
}
