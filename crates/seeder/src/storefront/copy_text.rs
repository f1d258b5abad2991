//! Rows as Postgres' COPY text format: a line per row, columns separated by tabs, `\N` for NULL.

use std::fmt::Write as _;

use bytes::BytesMut;
use chrono::{DateTime, Datelike as _, Timelike as _};

use crate::simulation::rows::{Customer, Moment, Order, OrderItem, Payment, Product};

/// A table's COPY statement and how its rows are written. No text that the simulation draws needs escaping.
pub(super) trait CopyRow {
    const COPY: &'static str;
    fn write(&self, line: &mut BytesMut);
}

/// Appends the rows to `text`.
pub(super) fn append<R: CopyRow>(rows: &[R], text: &mut BytesMut) {
    for row in rows {
        row.write(text);
        text.extend_from_slice(b"\n");
    }
}

/// Writing to memory does not fail.
macro_rules! put {
    ($line:expr, $($part:tt)*) => { let _ = write!($line, $($part)*); };
}

impl CopyRow for Customer {
    const COPY: &'static str = "COPY customers (id, full_name, email, address, city, country, created_at) FROM STDIN";

    fn write(&self, line: &mut BytesMut) {
        let Self { id, full_name, email, address, city, country, created_at } = self;
        put!(line, "{id}\t{full_name}\t{email}\t{address}\t{city}\t{country}\t");
        moment(*created_at, line);
    }
}

impl CopyRow for Product {
    const COPY: &'static str = "COPY products (id, name, category, price, stock_quantity, created_at) FROM STDIN";

    fn write(&self, line: &mut BytesMut) {
        let Self { id, name, category, price, stock_quantity, created_at } = self;
        put!(line, "{id}\t{name}\t{category}\t{price}\t{stock_quantity}\t");
        moment(*created_at, line);
    }
}

impl CopyRow for Order {
    const COPY: &'static str = "COPY orders (id, customer_id, status, total, created_at) FROM STDIN";

    fn write(&self, line: &mut BytesMut) {
        let Self { id, customer_id, status, total, created_at } = self;
        put!(line, "{id}\t{customer_id}\t{}\t{total}\t", status.as_str());
        moment(*created_at, line);
    }
}

impl CopyRow for OrderItem {
    const COPY: &'static str = "COPY order_items (id, order_id, product_id, quantity, price_at_purchase) FROM STDIN";

    fn write(&self, line: &mut BytesMut) {
        let Self { id, order_id, product_id, quantity, price_at_purchase } = self;
        put!(line, "{id}\t{order_id}\t{product_id}\t{quantity}\t{price_at_purchase}");
    }
}

impl CopyRow for Payment {
    const COPY: &'static str = "COPY payments (id, order_id, payment_method, paid_at, amount, status) FROM STDIN";

    fn write(&self, line: &mut BytesMut) {
        let Self { id, order_id, payment_method, paid_at, amount, status } = self;
        put!(line, "{id}\t{order_id}\t{payment_method}\t");
        match paid_at {
            Some(paid_at) => moment(*paid_at, line),
            None => line.extend_from_slice(b"\\N"),
        }
        put!(line, "\t{amount}\t{}", status.as_str());
    }
}

fn moment(moment: Moment, line: &mut BytesMut) {
    // Moments lie within a few years of today, which chrono holds.
    let time = DateTime::from_timestamp_micros(moment.0).unwrap_or_default();
    let micros = moment.0.rem_euclid(1_000_000);
    let (year, month, day) = (time.year(), time.month(), time.day());
    put!(
        line,
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{micros:06}",
        time.hour(),
        time.minute(),
        time.second()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::rows::{Cents, OrderStatus, PaymentStatus};

    #[test]
    fn rows_are_written_as_copy_text() {
        let mut text = BytesMut::new();
        let created_at = Moment(1_700_000_000_000_042);
        append(
            &[Order { id: 1, customer_id: 2, status: OrderStatus::Shipped, total: Cents(1205), created_at }],
            &mut text,
        );
        append(
            &[Payment {
                id: 3,
                order_id: 1,
                payment_method: "paypal",
                paid_at: None,
                amount: Cents(1205),
                status: PaymentStatus::Failed,
            }],
            &mut text,
        );
        assert_eq!(
            text,
            "1\t2\tshipped\t12.05\t2023-11-14 22:13:20.000042\n3\t1\tpaypal\t\\N\t12.05\tfailed\n".as_bytes()
        );
    }
}
