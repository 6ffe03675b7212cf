"""What a query of an SQL algorithm may consist of: parts of DuckDB's tree, functions, words."""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PARSE: Final = "SELECT json_serialize_sql($query::VARCHAR)"
CATALOGUE: Final = """
SELECT function_name FROM duckdb_functions() GROUP BY function_name
HAVING bool_or(stability = 'CONSISTENT' AND function_type IN ('aggregate', 'scalar', 'window'))
   AND NOT bool_or(stability IS NOT DISTINCT FROM 'VOLATILE')
"""
"""DuckDB's own word on which functions depend on their arguments alone."""

MACROS: Final = _words(
    "array_append array_pop_back array_pop_front array_prepend array_push_back array_push_front "
    "array_reverse array_to_string date_add days_in_month fdiv geomean geometric_mean if json "
    "json_group_array json_group_object json_group_structure list_any_value list_append list_avg "
    "list_bool_and list_bool_or list_count list_entropy list_first list_histogram list_kurtosis "
    "list_last list_mad list_max list_median list_min list_mode list_prepend list_product "
    "list_reverse list_sem list_skewness list_stddev_pop list_stddev_samp list_string_agg list_sum "
    "list_var_pop list_var_samp map_contains_entry map_contains_value nullif round_even split_part "
    "unnest wavg weighted_avg"
)
"""Functions that the catalogue does not vouch for: each was read."""
NOT_THESE: Final = frozenset({"age", "json_deserialize_sql", "reservoir_quantile"})
"""age(x) counts from today; a reservoir is drawn at random."""
TABLE_FUNCTIONS: Final = frozenset({"generate_series", "json_each", "json_tree", "range", "unnest"})
CLOCK: Final = _words(
    "current_date current_time current_timestamp localtime localtimestamp current_localtime "
    "current_localtimestamp current_user session_user current_role current_catalog "
    "current_schema current_database"
)
"""Words without brackets that DuckDB reads as functions where no column has the name."""
EXPRESSIONS: Final = _words(
    "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR "
    "PARAMETER POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW"
)
PARTS: Final = _words(
    "SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE BASE_TABLE EMPTY EXPRESSION_LIST "
    "JOIN PIVOT SUBQUERY TABLE_FUNCTION ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER "
    "DISTINCT_MODIFIER ORDER_DEFAULT ASCENDING DESCENDING"
)
