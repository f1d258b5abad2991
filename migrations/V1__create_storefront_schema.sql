-- The web shop. Every change of these tables is captured; see V2 for the user that reads them.

CREATE TABLE customers (
    id         serial PRIMARY KEY,
    full_name  text NOT NULL,
    email      text NOT NULL UNIQUE,
    address    text,
    city       text,
    country    text,
    created_at timestamp DEFAULT now()
);

CREATE TABLE products (
    id             serial PRIMARY KEY,
    name           text NOT NULL,
    category       text,
    price          numeric(10, 2) NOT NULL,
    stock_quantity int NOT NULL DEFAULT 0,
    created_at     timestamp DEFAULT now()
);

CREATE TABLE orders (
    id          serial PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers (id),
    status      text NOT NULL CHECK (status IN ('pending', 'shipped', 'delivered', 'cancelled')),
    total       numeric(10, 2),
    created_at  timestamp DEFAULT now()
);

CREATE TABLE order_items (
    id                serial PRIMARY KEY,
    order_id          int NOT NULL REFERENCES orders (id),
    product_id        int NOT NULL REFERENCES products (id),
    quantity          int NOT NULL,
    price_at_purchase numeric(10, 2) NOT NULL
);

CREATE TABLE payments (
    id             serial PRIMARY KEY,
    order_id       int NOT NULL REFERENCES orders (id),
    payment_method text NOT NULL,
    paid_at        timestamp,
    amount         numeric(10, 2),
    status         text CHECK (status IN ('paid', 'pending', 'failed'))
);

-- Postgres checks a foreign key from the referenced side as well: without these, each delete of an order or a
-- customer would read the whole referencing table.
CREATE INDEX orders_customer_id_idx ON orders (customer_id);
CREATE INDEX order_items_order_id_idx ON order_items (order_id);
CREATE INDEX order_items_product_id_idx ON order_items (product_id);
CREATE INDEX payments_order_id_idx ON payments (order_id);
