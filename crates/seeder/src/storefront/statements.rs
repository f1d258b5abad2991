//! The traffic's actions as SQL: each one statement, so each one transaction and one round trip.
//!
//! Every statement checks for itself whether the action still fits and does nothing otherwise. Rows are locked in one
//! order (order before items before payments, products by id), so that actions wait for each other and do not deadlock.

use tokio_postgres::{Client, Error, Row, Statement};

use super::activity::{RowsWritten, Table};
use crate::simulation::traffic::{Action, Outcome};

const NEW_CUSTOMER: &str = "
INSERT INTO customers (id, full_name, email, address, city, country)
SELECT id, $1, concat($2::text, '.', id, '@', $3::text), $4, $5, $6 FROM nextval('customers_id_seq') AS id
RETURNING id";

// The price and the stock that count are those at the moment the product's lock is held.
const NEW_ORDER: &str = "
WITH wanted AS (SELECT * FROM unnest($2::int[], $3::int[]) AS w (product_id, quantity)),
basket AS (
    SELECT p.id, wanted.quantity, p.price FROM products p JOIN wanted ON wanted.product_id = p.id
    WHERE p.stock_quantity >= wanted.quantity ORDER BY p.id FOR NO KEY UPDATE OF p
),
sum AS (SELECT sum(quantity * price) AS total FROM basket HAVING count(*) > 0),
buyer AS (SELECT id FROM customers WHERE id >= $1 ORDER BY id LIMIT 1),
ordered AS (
    INSERT INTO orders (customer_id, status, total) SELECT buyer.id, 'pending', sum.total FROM buyer, sum
    RETURNING id, total
),
taken AS (
    UPDATE products p SET stock_quantity = p.stock_quantity - basket.quantity FROM basket, ordered
    WHERE p.id = basket.id RETURNING 1
),
items AS (
    INSERT INTO order_items (order_id, product_id, quantity, price_at_purchase)
    SELECT ordered.id, basket.id, basket.quantity, basket.price FROM ordered, basket ORDER BY basket.id RETURNING 1
),
paid AS (
    INSERT INTO payments (order_id, payment_method, paid_at, amount, status)
    SELECT id, $4, CASE WHEN $5 THEN localtimestamp END, total, CASE WHEN $5 THEN 'paid' ELSE 'pending' END
    FROM ordered RETURNING 1
)
SELECT id, (SELECT count(*) FROM items), (SELECT count(*) FROM taken), (SELECT count(*) FROM paid) FROM ordered";

const ADVANCE_ORDER: &str = "
WITH moved AS (
    UPDATE orders SET status = CASE status WHEN 'pending' THEN 'shipped' ELSE 'delivered' END
    WHERE id = $1 AND status IN ('pending', 'shipped') RETURNING id, status
),
settled AS (
    UPDATE payments p SET status = 'paid', paid_at = localtimestamp FROM moved
    WHERE p.order_id = moved.id AND p.status = 'pending' RETURNING 1
)
SELECT status, (SELECT count(*) FROM settled) FROM moved";

const CANCEL_ORDER: &str = "
WITH moved AS (
    UPDATE orders SET status = CASE status WHEN 'pending' THEN 'cancelled' ELSE 'delivered' END
    WHERE id = $1 AND status IN ('pending', 'shipped') RETURNING id, status
),
failed AS (
    UPDATE payments p SET status = 'failed', paid_at = NULL FROM moved
    WHERE p.order_id = moved.id AND moved.status = 'cancelled' RETURNING 1
)
SELECT status, (SELECT count(*) FROM failed) FROM moved";

const SETTLE_PAYMENT: &str =
    "UPDATE payments SET status = 'paid', paid_at = localtimestamp WHERE order_id = $1 AND status = 'pending'";

const MOVE_CUSTOMER: &str = "
UPDATE customers SET address = $2, city = $3, country = $4
WHERE id = (SELECT id FROM customers WHERE id >= $1 ORDER BY id LIMIT 1)";

const CHANGE_PRICE: &str =
    "UPDATE products SET price = least(greatest(round(price * $2::int / 100, 2), 0.50), 9999.00) WHERE id = $1";

const RESTOCK: &str = "UPDATE products SET stock_quantity = stock_quantity + $2 WHERE id = $1";

const DELETE_ORDER: &str = "
WITH doomed AS (SELECT id FROM orders WHERE id = $1 AND status = 'cancelled' FOR UPDATE),
items AS (DELETE FROM order_items i USING doomed WHERE i.order_id = doomed.id RETURNING 1),
payments AS (DELETE FROM payments p USING doomed WHERE p.order_id = doomed.id RETURNING 1),
gone AS (DELETE FROM orders o USING doomed WHERE o.id = doomed.id RETURNING 1)
SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM payments) FROM gone";

// Looks at a few hundred customers at most, so that a shop where everybody buys costs no scan.
const DELETE_CUSTOMER: &str = "
DELETE FROM customers WHERE id = (
    SELECT id FROM customers c WHERE id BETWEEN $1 AND $1 + 300
    AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id) ORDER BY id LIMIT 1)";

/// All statements, prepared on one connection.
pub(super) struct Statements {
    new_customer: Statement,
    new_order: Statement,
    advance_order: Statement,
    cancel_order: Statement,
    settle_payment: Statement,
    move_customer: Statement,
    change_price: Statement,
    restock: Statement,
    delete_order: Statement,
    delete_customer: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            new_customer: client.prepare(NEW_CUSTOMER).await?,
            new_order: client.prepare(NEW_ORDER).await?,
            advance_order: client.prepare(ADVANCE_ORDER).await?,
            cancel_order: client.prepare(CANCEL_ORDER).await?,
            settle_payment: client.prepare(SETTLE_PAYMENT).await?,
            move_customer: client.prepare(MOVE_CUSTOMER).await?,
            change_price: client.prepare(CHANGE_PRICE).await?,
            restock: client.prepare(RESTOCK).await?,
            delete_order: client.prepare(DELETE_ORDER).await?,
            delete_customer: client.prepare(DELETE_CUSTOMER).await?,
        })
    }

    /// Does the action in one transaction. Returns what became of it and the rows it wrote.
    pub(super) async fn execute(&self, client: &Client, action: &Action) -> Result<(Outcome, RowsWritten), Error> {
        let mut rows = RowsWritten::default();
        let outcome = match action {
            Action::NewCustomer { full_name, mail_name, mail_host, address, city, country } => {
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                    [full_name, mail_name, mail_host, address, city, country];
                let id = client.query_one(&self.new_customer, &values).await?.get(0);
                rows.insert(Table::Customers, 1);
                Outcome::CustomerMade { id }
            }
            Action::NewOrder { customer_from, product_ids, quantities, method, paid_at_once } => {
                let row = client
                    .query_opt(&self.new_order, &[customer_from, product_ids, quantities, method, paid_at_once])
                    .await?;
                row.map_or(Outcome::Other, |row| {
                    rows.insert(Table::Orders, 1);
                    rows.insert(Table::OrderItems, count(&row, 1));
                    rows.update(Table::Products, count(&row, 2));
                    rows.insert(Table::Payments, count(&row, 3));
                    Outcome::OrderMade { id: row.get(0), paid: *paid_at_once }
                })
            }
            Action::AdvanceOrder { order } | Action::CancelOrder { order } => {
                let cancel = matches!(action, Action::CancelOrder { .. });
                let statement = if cancel { &self.cancel_order } else { &self.advance_order };
                let row = client.query_opt(statement, &[order]).await?;
                row.map_or(Outcome::Other, |row| {
                    rows.update(Table::Orders, 1);
                    rows.update(Table::Payments, count(&row, 1));
                    match row.get(0) {
                        "shipped" => Outcome::OrderShipped { id: *order },
                        "cancelled" => Outcome::OrderCancelled { id: *order },
                        _ => Outcome::Other,
                    }
                })
            }
            Action::DeleteOrder { order } => {
                if let Some(row) = client.query_opt(&self.delete_order, &[order]).await? {
                    rows.delete(Table::OrderItems, count(&row, 0));
                    rows.delete(Table::Payments, count(&row, 1));
                    rows.delete(Table::Orders, 1);
                }
                Outcome::Other
            }
            Action::SettlePayment { order } => {
                rows.update(Table::Payments, client.execute(&self.settle_payment, &[order]).await?);
                Outcome::Other
            }
            Action::MoveCustomer { customer_from, address, city, country } => {
                let moved = client.execute(&self.move_customer, &[customer_from, address, city, country]).await?;
                rows.update(Table::Customers, moved);
                Outcome::Other
            }
            Action::ChangePrice { product, percent } => {
                rows.update(Table::Products, client.execute(&self.change_price, &[product, percent]).await?);
                Outcome::Other
            }
            Action::Restock { product, quantity } => {
                rows.update(Table::Products, client.execute(&self.restock, &[product, quantity]).await?);
                Outcome::Other
            }
            Action::DeleteCustomer { customer_from } => {
                rows.delete(Table::Customers, client.execute(&self.delete_customer, &[customer_from]).await?);
                Outcome::Other
            }
        };
        Ok((outcome, rows))
    }
}

fn count(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or_default()
}
