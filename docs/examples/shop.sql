-- SPDX-License-Identifier: Apache-2.0
--
-- shop.sql - the database of a small web shop that sells tea and what belongs to it.
--
--   sqlite3 build/shop.db < docs/examples/shop.sql
--
-- SQLite keeps the comments inside of a CREATE statement; Shoal reads them as descriptions.

PRAGMA foreign_keys = ON;
BEGIN;

-- ---- places and money

CREATE TABLE countries ( -- Countries that the shop delivers to.
    code CHAR(2) PRIMARY KEY NOT NULL,   -- ISO 3166-1 alpha-2.
    name TEXT NOT NULL UNIQUE,           -- In English.
    is_eu BOOLEAN NOT NULL DEFAULT 0     -- Member of the customs union.
);

CREATE TABLE currencies ( -- Currencies that prices are shown in.
    code CHAR(3) PRIMARY KEY NOT NULL,   -- ISO 4217.
    name TEXT NOT NULL,
    decimals SMALLINT NOT NULL DEFAULT 2 -- Digits behind the point.
);

CREATE TABLE tax_rates ( -- Value added tax by country and kind of goods.
    id INTEGER PRIMARY KEY,
    country_code CHAR(2) NOT NULL REFERENCES countries (code),
    goods_class VARCHAR(20) NOT NULL,    -- "food", "standard" or "gift card".
    percent DECIMAL(5, 2) NOT NULL,
    valid_from DATE NOT NULL,
    valid_to DATE,                       -- Empty while it is in force.
    UNIQUE (country_code, goods_class, valid_from)
);

-- ---- customers

CREATE TABLE customer_groups ( -- Groups with prices of their own, such as restaurants.
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    discount_percent DECIMAL(5, 2) NOT NULL DEFAULT 0
);

CREATE TABLE customers ( -- People and firms that have an account.
    id INTEGER PRIMARY KEY,                        -- Given when the account is made.
    group_id INTEGER REFERENCES customer_groups (id),
    email VARCHAR(254) NOT NULL UNIQUE,            -- Where invoices go, in lower case.
    full_name TEXT NOT NULL,
    phone VARCHAR(32),
    locale VARCHAR(10) NOT NULL DEFAULT 'en',
    is_newsletter BOOLEAN NOT NULL DEFAULT 0,      -- Has agreed to get the newsletter.
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    deleted_at TIMESTAMP                           -- When the account was closed on request.
);

CREATE TABLE addresses ( -- Where customers live and want their parcels.
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    recipient TEXT NOT NULL,
    street TEXT NOT NULL,
    postcode VARCHAR(12) NOT NULL,
    city TEXT NOT NULL,
    country_code CHAR(2) NOT NULL REFERENCES countries (code),
    is_default BOOLEAN NOT NULL DEFAULT 0          -- Filled in at checkout.
);

CREATE TABLE wishlists ( -- Lists that a customer keeps, perhaps for others to see.
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    title TEXT NOT NULL DEFAULT 'My wishes',
    share_token UUID UNIQUE                        -- Part of the link, if the list is shared.
);

CREATE TABLE wishlist_items ( -- Products on a wish list.
    wishlist_id INTEGER NOT NULL REFERENCES wishlists (id) ON DELETE CASCADE,
    product_id INTEGER NOT NULL REFERENCES products (id),
    added_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (wishlist_id, product_id)
);

-- ---- products

CREATE TABLE brands ( -- Makers, and tea gardens that sell under their own name.
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    country_code CHAR(2) REFERENCES countries (code),
    website TEXT
);

CREATE TABLE categories ( -- The tree of the shop's navigation.
    id INTEGER PRIMARY KEY,
    parent_id INTEGER REFERENCES categories (id),  -- Empty for the top of the tree.
    slug VARCHAR(80) NOT NULL UNIQUE,              -- Part of the page's address.
    name TEXT NOT NULL,
    position INTEGER NOT NULL DEFAULT 0            -- Among its siblings.
);

CREATE TABLE products ( -- What can be bought, whatever its size or packing.
    id INTEGER PRIMARY KEY,
    brand_id INTEGER REFERENCES brands (id),
    category_id INTEGER NOT NULL REFERENCES categories (id),
    slug VARCHAR(80) NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,                              -- Markdown.
    goods_class VARCHAR(20) NOT NULL DEFAULT 'food', -- For the tax, see tax_rates.
    attributes JSON,                               -- Harvest, altitude, caffeine and so on.
    is_active BOOLEAN NOT NULL DEFAULT 1,          -- Shown in the shop.
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE variants ( -- A product in one size and packing: what lies on a shelf.
    id INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    sku VARCHAR(40) NOT NULL UNIQUE,               -- Stock keeping unit, printed on the label.
    barcode CHAR(13) UNIQUE,                       -- EAN-13.
    title TEXT NOT NULL,                           -- "100 g tin".
    weight_grams INTEGER NOT NULL CHECK (weight_grams >= 0)
);

CREATE TABLE prices ( -- Prices of a variant over time; the newest that has begun is in force.
    variant_id INTEGER NOT NULL REFERENCES variants (id) ON DELETE CASCADE,
    currency_code CHAR(3) NOT NULL REFERENCES currencies (code),
    valid_from TIMESTAMP NOT NULL,
    amount_cents BIGINT NOT NULL CHECK (amount_cents >= 0), -- Without tax.
    PRIMARY KEY (variant_id, currency_code, valid_from)
);

CREATE TABLE product_images ( -- Pictures, the first one being the cover.
    id INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    alt_text TEXT,                                 -- For those who cannot see it.
    position INTEGER NOT NULL DEFAULT 0,
    thumbnail BLOB
);

CREATE TABLE tags ( -- Words that products are found by.
    id INTEGER PRIMARY KEY,
    name VARCHAR(40) NOT NULL UNIQUE
);

CREATE TABLE product_tags ( -- Which product has which tag.
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    tag_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    PRIMARY KEY (product_id, tag_id)
) WITHOUT ROWID;

CREATE TABLE reviews ( -- What customers say about products.
    id INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    customer_id INTEGER REFERENCES customers (id) ON DELETE SET NULL,
    stars TINYINT NOT NULL CHECK (stars BETWEEN 1 AND 5),
    body TEXT,
    is_published BOOLEAN NOT NULL DEFAULT 0,       -- After somebody has read it.
    written_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (product_id, customer_id)
);

-- ---- purchasing and stock

CREATE TABLE suppliers ( -- Where goods are bought.
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email VARCHAR(254),
    country_code CHAR(2) NOT NULL REFERENCES countries (code),
    payment_days SMALLINT NOT NULL DEFAULT 30
);

CREATE TABLE supplier_products ( -- Which supplier sells which variant, and for how much.
    supplier_id INTEGER NOT NULL REFERENCES suppliers (id),
    variant_id INTEGER NOT NULL REFERENCES variants (id),
    supplier_sku VARCHAR(40),
    cost_cents BIGINT NOT NULL,
    lead_days SMALLINT NOT NULL DEFAULT 14,        -- From order to arrival.
    PRIMARY KEY (supplier_id, variant_id)
);

CREATE TABLE warehouses ( -- Places where stock is kept.
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    country_code CHAR(2) NOT NULL REFERENCES countries (code)
);

CREATE TABLE bins ( -- Shelves of a warehouse.
    warehouse_id INTEGER NOT NULL REFERENCES warehouses (id),
    code VARCHAR(12) NOT NULL,                     -- Aisle, rack and level: "B-07-3".
    is_cool BOOLEAN NOT NULL DEFAULT 0,            -- For matcha and the like.
    PRIMARY KEY (warehouse_id, code)
);

CREATE TABLE stock ( -- How many pieces of a variant lie on a shelf.
    variant_id INTEGER NOT NULL REFERENCES variants (id),
    warehouse_id INTEGER NOT NULL,
    bin_code VARCHAR(12) NOT NULL,
    pieces INTEGER NOT NULL DEFAULT 0 CHECK (pieces >= 0),
    best_before DATE,
    PRIMARY KEY (variant_id, warehouse_id, bin_code),
    FOREIGN KEY (warehouse_id, bin_code) REFERENCES bins (warehouse_id, code)
);

CREATE TABLE stock_movements ( -- Every change of the stock, never changed itself.
    id INTEGER PRIMARY KEY,
    variant_id INTEGER NOT NULL REFERENCES variants (id),
    warehouse_id INTEGER NOT NULL,
    bin_code VARCHAR(12) NOT NULL,
    change INTEGER NOT NULL,                       -- Pieces, negative when they leave.
    reason VARCHAR(20) NOT NULL,                   -- "purchase", "sale", "return", "count".
    happened_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (warehouse_id, bin_code) REFERENCES bins (warehouse_id, code)
);

CREATE TABLE purchase_orders ( -- Orders to suppliers.
    id INTEGER PRIMARY KEY,
    supplier_id INTEGER NOT NULL REFERENCES suppliers (id),
    warehouse_id INTEGER NOT NULL REFERENCES warehouses (id),
    state VARCHAR(12) NOT NULL DEFAULT 'draft',    -- "draft", "sent", "received", "cancelled".
    ordered_at TIMESTAMP,
    expected_on DATE
);

CREATE TABLE purchase_order_lines ( -- What is ordered from the supplier.
    purchase_order_id INTEGER NOT NULL REFERENCES purchase_orders (id) ON DELETE CASCADE,
    line SMALLINT NOT NULL,
    variant_id INTEGER NOT NULL REFERENCES variants (id),
    pieces INTEGER NOT NULL CHECK (pieces > 0),
    cost_cents BIGINT NOT NULL,
    PRIMARY KEY (purchase_order_id, line)
);

-- ---- selling

CREATE TABLE carts ( -- Shopping carts, also of visitors without an account.
    id INTEGER PRIMARY KEY,
    customer_id INTEGER REFERENCES customers (id) ON DELETE SET NULL,
    session_token UUID NOT NULL UNIQUE,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE cart_items ( -- What lies in a cart.
    cart_id INTEGER NOT NULL REFERENCES carts (id) ON DELETE CASCADE,
    variant_id INTEGER NOT NULL REFERENCES variants (id),
    pieces INTEGER NOT NULL CHECK (pieces > 0),
    PRIMARY KEY (cart_id, variant_id)
);

CREATE TABLE coupons ( -- Codes that lower the price of an order.
    code VARCHAR(20) PRIMARY KEY NOT NULL,
    percent DECIMAL(5, 2),
    amount_cents BIGINT,                           -- One of the two is set.
    valid_until DATE,
    uses_left INTEGER,                             -- Empty: as often as one likes.
    CHECK ((percent IS NULL) <> (amount_cents IS NULL))
);

CREATE TABLE orders ( -- What customers have bought; an order never changes its lines.
    id INTEGER PRIMARY KEY,
    number VARCHAR(12) NOT NULL UNIQUE,            -- For people: year and running number.
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    billing_address_id INTEGER NOT NULL REFERENCES addresses (id),
    shipping_address_id INTEGER NOT NULL REFERENCES addresses (id),
    currency_code CHAR(3) NOT NULL REFERENCES currencies (code),
    coupon_code VARCHAR(20) REFERENCES coupons (code),
    state VARCHAR(12) NOT NULL DEFAULT 'placed',   -- "placed", "paid", "shipped", "closed".
    placed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    total_cents BIGINT NOT NULL                    -- With tax and shipping.
);

CREATE TABLE order_lines ( -- Variants of an order, with the price of that moment.
    order_id INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    line SMALLINT NOT NULL,                        -- From 1.
    variant_id INTEGER NOT NULL REFERENCES variants (id),
    pieces INTEGER NOT NULL CHECK (pieces > 0),
    unit_cents BIGINT NOT NULL,                    -- Without tax.
    tax_percent DECIMAL(5, 2) NOT NULL,
    line_cents BIGINT GENERATED ALWAYS AS (pieces * unit_cents) STORED, -- Without tax.
    PRIMARY KEY (order_id, line)
);

CREATE TABLE order_events ( -- What has happened to an order, for the customer to see.
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    kind VARCHAR(20) NOT NULL,
    detail JSON,
    happened_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE payment_methods ( -- Ways to pay.
    code VARCHAR(20) PRIMARY KEY NOT NULL,         -- "card", "transfer", "paypal".
    name TEXT NOT NULL,
    fee_percent DECIMAL(5, 2) NOT NULL DEFAULT 0   -- What the provider takes.
);

CREATE TABLE payments ( -- Money that came in for an order.
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    method_code VARCHAR(20) NOT NULL REFERENCES payment_methods (code),
    provider_reference TEXT UNIQUE,                -- The provider's own number.
    amount_cents BIGINT NOT NULL,
    paid_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE refunds ( -- Money that went back.
    id INTEGER PRIMARY KEY,
    payment_id INTEGER NOT NULL REFERENCES payments (id),
    return_id INTEGER REFERENCES returns (id),
    amount_cents BIGINT NOT NULL CHECK (amount_cents > 0),
    refunded_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE invoices ( -- One for each order, numbered without gaps.
    number VARCHAR(16) PRIMARY KEY NOT NULL,
    order_id INTEGER NOT NULL UNIQUE REFERENCES orders (id),
    issued_on DATE NOT NULL,
    document BLOB                                  -- The PDF as it was sent.
);

CREATE TABLE carriers ( -- Who brings the parcels.
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    tracking_url TEXT                              -- With {} for the parcel's number.
);

CREATE TABLE shipments ( -- Parcels; an order may need several.
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    carrier_id INTEGER NOT NULL REFERENCES carriers (id),
    warehouse_id INTEGER NOT NULL REFERENCES warehouses (id),
    tracking_number VARCHAR(40) UNIQUE,
    packed_at TIMESTAMP,
    handed_over_at TIMESTAMP,
    delivered_at TIMESTAMP
);

CREATE TABLE shipment_lines ( -- Which lines of the order are in a parcel.
    shipment_id INTEGER NOT NULL REFERENCES shipments (id) ON DELETE CASCADE,
    order_id INTEGER NOT NULL,
    line SMALLINT NOT NULL,
    pieces INTEGER NOT NULL CHECK (pieces > 0),
    PRIMARY KEY (shipment_id, order_id, line),
    FOREIGN KEY (order_id, line) REFERENCES order_lines (order_id, line)
);

CREATE TABLE returns ( -- Goods that customers send back.
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    reason TEXT,                                   -- In the customer's words.
    announced_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    arrived_at TIMESTAMP
);

CREATE TABLE return_lines ( -- What is in a return, and in what state.
    return_id INTEGER NOT NULL REFERENCES returns (id) ON DELETE CASCADE,
    order_id INTEGER NOT NULL,
    line SMALLINT NOT NULL,
    pieces INTEGER NOT NULL CHECK (pieces > 0),
    is_sellable BOOLEAN,                           -- Empty until somebody has looked.
    PRIMARY KEY (return_id, order_id, line),
    FOREIGN KEY (order_id, line) REFERENCES order_lines (order_id, line)
);

-- ---- the people behind it

CREATE TABLE employees ( -- Those who work here.
    id INTEGER PRIMARY KEY,
    manager_id INTEGER REFERENCES employees (id),
    full_name TEXT NOT NULL,
    email VARCHAR(254) NOT NULL UNIQUE,
    hired_on DATE NOT NULL,
    left_on DATE
);

CREATE TABLE tickets ( -- Questions of customers to the service team.
    id INTEGER PRIMARY KEY,
    customer_id INTEGER REFERENCES customers (id),
    order_id INTEGER REFERENCES orders (id),
    assignee_id INTEGER REFERENCES employees (id),
    subject TEXT NOT NULL,
    state VARCHAR(12) NOT NULL DEFAULT 'open',     -- "open", "waiting", "closed".
    opened_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE ticket_messages ( -- The conversation of a ticket.
    id INTEGER PRIMARY KEY,
    ticket_id INTEGER NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    employee_id INTEGER REFERENCES employees (id), -- Empty: the customer wrote it.
    body TEXT NOT NULL,
    sent_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX orders_by_customer ON orders (customer_id, placed_at);
CREATE INDEX movements_by_variant ON stock_movements (variant_id, happened_at);
CREATE INDEX reviews_by_product ON reviews (product_id) WHERE is_published;

-- ---- views

CREATE VIEW current_prices AS -- The price in force now, one row for each variant and currency.
SELECT p.variant_id, p.currency_code, p.amount_cents, max(p.valid_from) AS valid_from
FROM prices p
WHERE p.valid_from <= CURRENT_TIMESTAMP
GROUP BY p.variant_id, p.currency_code;

CREATE VIEW stock_levels AS -- Pieces of each variant over all warehouses.
SELECT v.id AS variant_id, v.sku, coalesce(sum(s.pieces), 0) AS pieces
FROM variants v LEFT JOIN stock s ON s.variant_id = v.id
GROUP BY v.id, v.sku;

CREATE VIEW products_to_reorder AS -- Variants with fewer than ten pieces left, and who sells them.
SELECT l.variant_id, l.sku, l.pieces, sp.supplier_id, sp.cost_cents, sp.lead_days
FROM stock_levels l JOIN supplier_products sp ON sp.variant_id = l.variant_id
WHERE l.pieces < 10;

CREATE VIEW daily_revenue AS -- Orders and their value by day and currency.
SELECT date(placed_at) AS day, currency_code, count(*) AS orders, sum(total_cents) AS total_cents
FROM orders
GROUP BY date(placed_at), currency_code;

CREATE VIEW customer_value AS -- What each customer has spent so far.
SELECT c.id AS customer_id, c.email, count(o.id) AS orders, sum(o.total_cents) AS total_cents,
       max(o.placed_at) AS last_order_at
FROM customers c LEFT JOIN orders o ON o.customer_id = c.id
GROUP BY c.id, c.email;

CREATE VIEW product_ratings AS -- Stars of published reviews.
SELECT product_id, count(*) AS reviews, avg(stars) AS stars
FROM reviews
WHERE is_published
GROUP BY product_id;

CREATE VIEW open_tickets AS -- Tickets that wait for us, the oldest first.
SELECT t.id, t.subject, t.opened_at, e.full_name AS assignee
FROM tickets t LEFT JOIN employees e ON e.id = t.assignee_id
WHERE t.state = 'open'
ORDER BY t.opened_at;

-- ---- a few rows, so that it is not empty

INSERT INTO countries VALUES ('DE', 'Germany', 1), ('JP', 'Japan', 0), ('CN', 'China', 0);
INSERT INTO currencies VALUES ('EUR', 'euro', 2), ('JPY', 'yen', 0);
INSERT INTO brands (name, country_code) VALUES ('Uji Garden', 'JP'), ('Cloud Mountain', 'CN');
INSERT INTO categories (parent_id, slug, name) VALUES (NULL, 'tea', 'Tea'), (1, 'green', 'Green');
INSERT INTO products (brand_id, category_id, slug, name)
VALUES (1, 2, 'sencha', 'Sencha'), (1, 2, 'matcha', 'Matcha'), (2, 2, 'longjing', 'Longjing');
INSERT INTO variants (product_id, sku, title, weight_grams)
VALUES (1, 'SEN-100', '100 g bag', 120), (2, 'MAT-030', '30 g tin', 80);

COMMIT;
