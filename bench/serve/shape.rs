//! Shape tables of a shop that has been open for two years, for the benchmark of models: what `lake` would have made of it.
//!
//!   bench-serve-shape fill ITEMS             customers, products, orders, order_items and payments, with so many order items
//!   bench-serve-shape change ITEMS CHANGES   so many rows changed on top of that, in the mix of the seeder's traffic
//!
//! The settings of `lake` say where. The same arguments make the same rows. Ids follow time, as in a shop: newer orders have
//! greater ones. Changes of orders meet the newest, others any row; a row changes once.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use lake::fill::{Filling, Load};

/// 2026-11-01T00:00:00Z; two years before it were filled, changes follow.
const END_US: i64 = 1_793_491_200_000_000;
const DAY_US: i64 = 86_400_000_000;
const SPAN_US: i64 = 730 * DAY_US;
/// What the seeder makes of a customer: two orders, each with two and a half items; ten customers for a product.
const ITEMS_PER_CUSTOMER: i64 = 5;
const CUSTOMERS_PER_PRODUCT: i64 = 10;
/// Orders of the last so many days may still change.
const OPEN_DAYS: i64 = 4;

const CITIES: [(i64, &str, &str); 8] = [
    (30, "Berlin", "Germany"),
    (20, "Hamburg", "Germany"),
    (15, "München", "Germany"),
    (12, "Wien", "Austria"),
    (8, "Zürich", "Switzerland"),
    (6, "Paris", "France"),
    (5, "Amsterdam", "Netherlands"),
    (4, "København", "Denmark"),
];
const CATEGORIES: [&str; 8] = ["Furniture", "Kitchen", "Garden", "Books", "Toys", "Sports", "Lighting", "Textiles"];
const METHODS: [(i64, &str); 5] =
    [(38, "credit_card"), (30, "paypal"), (15, "sepa_debit"), (12, "invoice"), (5, "gift_card")];
const QUANTITIES: [(i64, i64); 4] = [(70, 1), (20, 2), (7, 3), (3, 4)];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let filling = Filling::from_env()?;
    match args[..] {
        ["fill", items] => fill(&filling, &Shop::new(items.parse()?)).await,
        ["change", items, changes] => change(&filling, &Shop::new(items.parse()?), changes.parse()?).await,
        _ => anyhow::bail!("asked for {args:?}; there are: fill ITEMS, change ITEMS CHANGES"),
    }
}

/// A number below `limit` that follows from what it is for: splitmix64.
fn draw(what: &str, id: i64, limit: i64) -> i64 {
    let salt = what.bytes().fold(0u64, |salt, byte| salt.wrapping_mul(131).wrapping_add(u64::from(byte)));
    let mut mixed = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ id.cast_unsigned().wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) % limit.max(1).cast_unsigned()).cast_signed()
}

/// One of these, as likely as its weight says.
fn weighted<T: Copy>(choices: &[(i64, T)], what: &str, id: i64) -> T {
    let mut left = draw(what, id, choices.iter().map(|(weight, _)| weight).sum());
    for (weight, choice) in choices {
        if left < *weight {
            return *choice;
        }
        left -= weight;
    }
    choices[0].1
}

struct Customer {
    id: i64,
    city: usize,
    created_us: i64,
}

struct Product {
    id: i64,
    price_cents: i64,
    stock: i64,
}

#[derive(Clone)]
struct Order {
    id: i64,
    customer: i64,
    status: &'static str,
    total_cents: i64,
    created_us: i64,
}

struct Item {
    id: i64,
    order: i64,
    product: i64,
    quantity: i64,
    price_cents: i64,
}

struct Payment {
    order: Order,
    status: &'static str,
}

/// What the shop has. Rows follow from their ids.
struct Shop {
    customers: i64,
    products: i64,
    /// Id of the first item of each order, and the one after all.
    first_items: Vec<i64>,
}

impl Shop {
    fn new(items: i64) -> Self {
        let customers = (items / ITEMS_PER_CUSTOMER).max(100);
        let mut first_items = vec![1];
        let mut next = 1;
        while next <= items {
            next = (next + 1 + draw("items", first_items.len() as i64, 4)).min(items + 1);
            first_items.push(next);
        }
        Self { customers, products: (customers / CUSTOMERS_PER_PRODUCT).max(20), first_items }
    }

    fn orders(&self) -> i64 {
        self.first_items.len() as i64 - 1
    }

    fn customer(&self, id: i64) -> Customer {
        let city = weighted(&std::array::from_fn::<_, 8, _>(|city| (CITIES[city].0, city)), "city", id);
        Customer { id, city, created_us: END_US - SPAN_US + (SPAN_US / self.customers) * (id - 1) }
    }

    fn product(&self, id: i64) -> Product {
        Product { id, price_cents: 690 + draw("price", id, 30_000), stock: draw("stock", id, 200) }
    }

    /// Some products sell far more often than others.
    fn popular(&self, what: &str, id: i64) -> i64 {
        let share = draw(what, id, 1 << 20) as f64 / f64::from(1 << 20);
        1 + ((self.products as f64 * share * share) as i64).min(self.products - 1)
    }

    fn item(&self, id: i64, order: i64) -> Item {
        let product = self.popular("product", id);
        let price_cents = self.product(product).price_cents;
        Item { id, order, product, quantity: weighted(&QUANTITIES, "quantity", id), price_cents }
    }

    fn items(&self, order: i64) -> Vec<Item> {
        let first = (order - 1) as usize;
        (self.first_items[first]..self.first_items[first + 1]).map(|id| self.item(id, order)).collect()
    }

    fn order(&self, id: i64, items: &[Item]) -> Order {
        let created_us = END_US - SPAN_US + (SPAN_US / self.orders()) * (id - 1) + draw("second", id, DAY_US / 1000);
        let status = match (END_US - created_us) / DAY_US {
            0 => weighted(&[(70, "pending"), (20, "shipped"), (10, "cancelled")], "status", id),
            1..OPEN_DAYS => {
                weighted(&[(15, "pending"), (60, "shipped"), (17, "delivered"), (8, "cancelled")], "status", id)
            }
            _ => weighted(&[(93, "delivered"), (7, "cancelled")], "status", id),
        };
        let customer = 1 + draw("customer", id, self.customers);
        Order { id, customer, status, total_cents: total(items), created_us }
    }
}

fn total(items: &[Item]) -> i64 {
    items.iter().map(|item| item.quantity * item.price_cents).sum()
}

/// An order has one payment, with the order's id.
fn payment(order: &Order) -> Payment {
    let status = match order.status {
        "cancelled" => "failed",
        "pending" if draw("paid", order.id, 2) == 0 => "pending",
        _ => "paid",
    };
    Payment { order: order.clone(), status }
}

type Columns = Vec<(&'static str, ArrayRef)>;

fn ints<T>(rows: &[T], value: impl Fn(&T) -> i64) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| value(row) as i32)))
}

fn texts<T, S: AsRef<str>>(rows: &[T], value: impl Fn(&T) -> S) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

fn amounts<T>(rows: &[T], value: impl Fn(&T) -> i64) -> anyhow::Result<ArrayRef> {
    let cents = Decimal128Array::from_iter_values(rows.iter().map(|row| i128::from(value(row))));
    Ok(Arc::new(cents.with_precision_and_scale(10, 2)?))
}

fn moments<T>(rows: &[T], value: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<TimestampMicrosecondArray>())
}

fn customers(rows: &[Customer]) -> anyhow::Result<Columns> {
    Ok(vec![
        ("id", ints(rows, |row| row.id)),
        ("full_name", texts(rows, |row| format!("Anna Berg {}", row.id))),
        ("email", texts(rows, |row| format!("anna.{}@example.com", row.id))),
        ("address", texts(rows, |row| format!("Seestraße {}", 1 + draw("house", row.id, 140)))),
        ("city", texts(rows, |row| CITIES[row.city].1)),
        ("country", texts(rows, |row| CITIES[row.city].2)),
        ("created_at", moments(rows, |row| Some(row.created_us))),
    ])
}

fn products(rows: &[Product]) -> anyhow::Result<Columns> {
    Ok(vec![
        ("id", ints(rows, |row| row.id)),
        ("name", texts(rows, |row| format!("Thing {}", row.id))),
        ("category", texts(rows, |row| CATEGORIES[draw("category", row.id, 8) as usize])),
        ("price", amounts(rows, |row| row.price_cents)?),
        ("stock_quantity", ints(rows, |row| row.stock)),
        ("created_at", moments(rows, |row| Some(END_US - SPAN_US + row.id))),
    ])
}

fn orders(rows: &[Order]) -> anyhow::Result<Columns> {
    Ok(vec![
        ("id", ints(rows, |row| row.id)),
        ("customer_id", ints(rows, |row| row.customer)),
        ("status", texts(rows, |row| row.status)),
        ("total", amounts(rows, |row| row.total_cents)?),
        ("created_at", moments(rows, |row| Some(row.created_us))),
    ])
}

fn order_items(rows: &[Item]) -> anyhow::Result<Columns> {
    Ok(vec![
        ("id", ints(rows, |row| row.id)),
        ("order_id", ints(rows, |row| row.order)),
        ("product_id", ints(rows, |row| row.product)),
        ("quantity", ints(rows, |row| row.quantity)),
        ("price_at_purchase", amounts(rows, |row| row.price_cents)?),
    ])
}

fn payments(rows: &[Payment]) -> anyhow::Result<Columns> {
    let paid_us = |row: &Payment| row.order.created_us + 1_000_000 * (20 + draw("paid after", row.order.id, 1800));
    Ok(vec![
        ("id", ints(rows, |row| row.order.id)),
        ("order_id", ints(rows, |row| row.order.id)),
        ("payment_method", texts(rows, |row| weighted(&METHODS, "method", row.order.id))),
        ("paid_at", moments(rows, |row| (row.status == "paid").then(|| paid_us(row)))),
        ("amount", amounts(rows, |row| row.order.total_cents)?),
        ("status", texts(rows, |row| row.status)),
    ])
}

fn batch(columns: Columns) -> anyhow::Result<RecordBatch> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, values)| values).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn topic(table: &str) -> String {
    format!("storefront.public.{table}")
}

/// One table while it is written: rows are held until they make a file.
struct Table<T> {
    load: Load,
    rows: Vec<T>,
    columns: fn(&[T]) -> anyhow::Result<Columns>,
}

impl<T> Table<T> {
    async fn new(filling: &Filling, name: &str, columns: fn(&[T]) -> anyhow::Result<Columns>) -> anyhow::Result<Self> {
        let schema: SchemaRef = batch(columns(&[])?)?.schema();
        Ok(Self { load: filling.load(&topic(name), &schema).await?, rows: Vec::new(), columns })
    }

    async fn put(&mut self, row: T) -> anyhow::Result<()> {
        self.rows.push(row);
        if self.rows.len() == self.load.file_rows() {
            self.load.write(&batch((self.columns)(&self.rows)?)?).await?;
            self.rows.clear();
        }
        Ok(())
    }

    async fn publish(mut self) -> anyhow::Result<()> {
        self.load.write(&batch((self.columns)(&self.rows)?)?).await?;
        self.load.publish().await
    }
}

async fn fill(filling: &Filling, shop: &Shop) -> anyhow::Result<()> {
    let mut of_customers = Table::new(filling, "customers", customers).await?;
    for id in 1..=shop.customers {
        of_customers.put(shop.customer(id)).await?;
    }
    of_customers.publish().await?;
    let mut of_products = Table::new(filling, "products", products).await?;
    for id in 1..=shop.products {
        of_products.put(shop.product(id)).await?;
    }
    of_products.publish().await?;
    let mut of_orders = Table::new(filling, "orders", orders).await?;
    let mut of_items = Table::new(filling, "order_items", order_items).await?;
    let mut of_payments = Table::new(filling, "payments", payments).await?;
    for id in 1..=shop.orders() {
        let items = shop.items(id);
        let order = shop.order(id, &items);
        of_payments.put(payment(&order)).await?;
        of_orders.put(order).await?;
        for item in items {
            of_items.put(item).await?;
        }
    }
    of_orders.publish().await?;
    of_items.publish().await?;
    of_payments.publish().await?;
    println!("{} customers, {} products, {} orders", shop.customers, shop.products, shop.orders());
    Ok(())
}

/// Events of one table.
struct Events<T>(Vec<(&'static str, T)>);

impl<T> Events<T> {
    async fn apply(
        self,
        filling: &Filling,
        table: &str,
        columns: fn(&[T]) -> anyhow::Result<Columns>,
    ) -> anyhow::Result<()> {
        let (ops, rows): (Vec<&str>, Vec<T>) = self.0.into_iter().unzip();
        let mut columns = columns(&rows)?;
        let count = rows.len();
        let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        columns.push(("_op", Arc::new(StringArray::from(ops))));
        let times = TimestampMicrosecondArray::from(vec![END_US + DAY_US; count]).with_data_type(kind);
        columns.push(("_ts", Arc::new(times)));
        columns.push(("_lsn", Arc::new(Int64Array::from_iter_values(1..=count as i64))));
        if count > 0 {
            filling.apply(&topic(table), &batch(columns)?).await?;
        }
        println!("{table}: {count} rows changed");
        Ok(())
    }
}

/// Changed rows by table.
struct Changes<'a> {
    shop: &'a Shop,
    customers: Events<Customer>,
    products: Events<Product>,
    orders: Events<Order>,
    items: Events<Item>,
    payments: Events<Payment>,
    /// Rows that changed already.
    touched: HashSet<(&'static str, i64)>,
    next_order: i64,
    next_item: i64,
}

impl Changes<'_> {
    fn count(&self) -> i64 {
        let rows = self.customers.0.len() + self.products.0.len() + self.orders.0.len();
        (rows + self.items.0.len() + self.payments.0.len()) as i64
    }

    /// One action in the mix of the seeder's traffic, as far as models can tell actions apart.
    fn act(&mut self, step: i64, rows_left: i64) {
        let shop = self.shop;
        match draw("action", step, 100) {
            0..30 if rows_left >= 6 => self.new_order(step),
            30..33 if rows_left >= 6 => {
                let id = self.recent(step);
                if self.first("orders", id) {
                    let items = shop.items(id);
                    let order = shop.order(id, &items);
                    self.payments.0.push(("d", payment(&order)));
                    self.orders.0.push(("d", order));
                    self.items.0.extend(items.into_iter().map(|item| ("d", item)));
                }
            }
            33..45 => {
                let id = self.recent(step);
                if self.first("payments", id) {
                    let order = shop.order(id, &shop.items(id));
                    self.payments.0.push(("u", Payment { status: "paid", ..payment(&order) }));
                }
            }
            45..55 => {
                let id = 1 + draw("moves", step, shop.customers);
                if self.first("customers", id) {
                    let city = draw("to", step, 8) as usize;
                    self.customers.0.push(("u", Customer { city, ..shop.customer(id) }));
                }
            }
            55..65 => {
                let id = shop.popular("restock", step);
                if self.first("products", id) {
                    self.products.0.push(("u", Product { stock: 200, ..shop.product(id) }));
                }
            }
            _ => {
                let id = self.recent(step);
                if self.first("orders", id) {
                    let order = shop.order(id, &shop.items(id));
                    let status = if order.status == "pending" { "shipped" } else { "delivered" };
                    self.orders.0.push(("u", Order { status, ..order }));
                }
            }
        }
    }

    fn new_order(&mut self, step: i64) {
        let (id, first) = (self.next_order, self.next_item);
        (self.next_order, self.next_item) = (id + 1, first + 1 + draw("items", id, 4));
        let items: Vec<Item> = (first..self.next_item).map(|item| self.shop.item(item, id)).collect();
        let order = Order { created_us: END_US + step * 1_000_000, status: "pending", ..self.shop.order(id, &items) };
        self.payments.0.push(("c", payment(&order)));
        self.orders.0.push(("c", order));
        self.items.0.extend(items.into_iter().map(|item| ("c", item)));
    }

    /// An order of the last days.
    fn recent(&self, step: i64) -> i64 {
        let all = self.shop.orders();
        let open = (all * OPEN_DAYS * DAY_US / SPAN_US).max(1_000).min(all);
        all - draw("recent", step, open)
    }

    fn first(&mut self, table: &'static str, id: i64) -> bool {
        self.touched.insert((table, id))
    }
}

async fn change(filling: &Filling, shop: &Shop, count: i64) -> anyhow::Result<()> {
    let mut changes = Changes {
        shop,
        customers: Events(Vec::new()),
        products: Events(Vec::new()),
        orders: Events(Vec::new()),
        items: Events(Vec::new()),
        payments: Events(Vec::new()),
        touched: HashSet::new(),
        next_order: shop.orders() + 1,
        next_item: shop.first_items.last().copied().unwrap_or(1),
    };
    let mut step = 0;
    while changes.count() < count {
        anyhow::ensure!(step < 1_000 * count, "too few rows for {count} changes");
        changes.act(step, count - changes.count());
        step += 1;
    }
    changes.customers.apply(filling, "customers", customers).await?;
    changes.products.apply(filling, "products", products).await?;
    changes.orders.apply(filling, "orders", orders).await?;
    changes.items.apply(filling, "order_items", order_items).await?;
    changes.payments.apply(filling, "payments", payments).await
}
