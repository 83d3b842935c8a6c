use super::FilterError;
use serde_json::Value;
#[derive(Debug, Clone)]
pub struct Filter(Value);
impl From<Value> for Filter {
    fn from(v: Value) -> Self {
        Self(v)
    }
}
impl Filter {
    pub(crate) fn document(&self) -> Result<&Value, FilterError> {
        Ok(&self.0)
    }
}
pub(crate) fn pinned_id(filter: &Value) -> Option<&str> {
    filter.get("_id")?.as_str()
}
