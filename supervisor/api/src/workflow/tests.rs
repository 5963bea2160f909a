mod mistakes;

mod schema;

mod whole;
