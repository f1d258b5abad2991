//! A web shop's five tables as topics, to fill and change, for tests of models.

use std::collections::BTreeSet;

use model::{cell::Cell, envelope::Op};

use super::{
    fixture::Lake,
    topic::{ColumnSpec, NUMERIC_10_2, Topic},
};

/// The columns of the storefront's tables that models read.
const TABLES: [(&str, &[ColumnSpec]); 5] = [
    (
        "customers",
        &[("id", 23, "int4", -1, false), ("full_name", 25, "text", -1, false), ("country", 25, "text", -1, true)],
    ),
    (
        "products",
        &[
            ("id", 23, "int4", -1, false),
            ("name", 25, "text", -1, false),
            ("category", 25, "text", -1, true),
            ("price", 1700, "numeric", NUMERIC_10_2, false),
            ("stock_quantity", 23, "int4", -1, false),
        ],
    ),
    (
        "orders",
        &[
            ("id", 23, "int4", -1, false),
            ("customer_id", 23, "int4", -1, false),
            ("status", 25, "text", -1, false),
            ("total", 1700, "numeric", NUMERIC_10_2, true),
            ("created_at", 1114, "timestamp", -1, true),
        ],
    ),
    (
        "order_items",
        &[
            ("id", 23, "int4", -1, false),
            ("order_id", 23, "int4", -1, false),
            ("product_id", 23, "int4", -1, false),
            ("quantity", 23, "int4", -1, false),
            ("price_at_purchase", 1700, "numeric", NUMERIC_10_2, false),
        ],
    ),
    (
        "payments",
        &[
            ("id", 23, "int4", -1, false),
            ("order_id", 23, "int4", -1, false),
            ("payment_method", 25, "text", -1, false),
            ("amount", 1700, "numeric", NUMERIC_10_2, true),
            ("status", 25, "text", -1, true),
        ],
    ),
];

/// The shop's topics.
pub struct Shop {
    topics: Vec<Topic>,
    /// Keys that are there, by table.
    known: Vec<BTreeSet<String>>,
}

impl Shop {
    /// An empty shop.
    pub fn new() -> Self {
        let topics = TABLES.iter().map(|(name, columns)| Topic::new(name, columns)).collect();
        Self { topics, known: vec![BTreeSet::new(); TABLES.len()] }
    }

    /// A shop with some customers, products and orders, as they are in the lake.
    pub async fn open(lake: &Lake) -> Self {
        let mut shop = Self::new();
        for row in ["1|Ada|AT", "2|Bo|-", "3|Cy|CH"] {
            shop.put("customers", row);
        }
        for row in ["1|Desk|home|10.00|100", "2|Pen|office|0.10|3", "3|Lamp|-|5.00|0"] {
            shop.put("products", row);
        }
        for row in [
            "1|1|shipped|30.30|2024-05-05 23:59:59",
            "2|1|cancelled|99.00|2024-05-05 10:00:00",
            "3|2|pending|0.10|2024-05-06 00:00:00",
            "4|1|pending|-|2024-06-01 01:00:00",
        ] {
            shop.put("orders", row);
        }
        for row in ["1|1|1|3|10.10", "2|2|1|1|99.00", "3|3|2|1|0.10", "4|1|2|1|0.01"] {
            shop.put("order_items", row);
        }
        for row in ["1|1|card|30.31|paid", "2|3|cash|0.10|pending", "3|2|card|99.00|failed"] {
            shop.put("payments", row);
        }
        shop.pump(lake).await;
        shop
    }

    /// Inserts or updates a row, given as values between bars; `-` is null.
    pub fn put(&mut self, table: &str, row: &str) {
        let place = TABLES.iter().position(|(name, _)| *name == table).unwrap();
        let cells: Vec<Cell<'_>> =
            row.split('|').map(|text| if text == "-" { Cell::Null } else { Cell::Text(text.as_bytes()) }).collect();
        let id = row.split('|').next().unwrap().to_owned();
        let op = if self.known[place].insert(id) { Op::Create } else { Op::Update };
        self.topics[place].event(0, op, None, Some(&cells));
    }

    /// Deletes a row by its key, if it is there.
    pub fn delete(&mut self, table: &str, id: &str) {
        let place = TABLES.iter().position(|(name, _)| *name == table).unwrap();
        if self.known[place].remove(id) {
            let mut row = vec![Cell::Null; TABLES[place].1.len()];
            for (cell, column) in row.iter_mut().zip(TABLES[place].1) {
                // What a delete says of the row is its key; other columns that may not be null have some value.
                *cell = match column {
                    (_, _, _, _, true) => Cell::Null,
                    (_, 25, ..) => Cell::Text(b""),
                    _ => Cell::Text(b"0"),
                };
            }
            row[0] = Cell::Text(id.as_bytes());
            self.topics[place].event(0, Op::Delete, Some(&row), None);
        }
    }

    /// Brings all that was done into `shape`.
    pub async fn pump(&mut self, lake: &Lake) {
        for topic in &mut self.topics {
            lake.raw.flush(topic, 0);
            lake.stage_all(&topic.name).await;
            lake.shape_all(&topic.name).await;
        }
    }
}
