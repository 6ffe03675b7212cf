-- Nights in hospital by sex or by age: one SELECT, in DuckDB's SQL, that reads the inputs by name.
-- _person tells people apart in this run, and is nobody's name; it cannot leave.
SELECT
    CASE
        WHEN $by = 'sex' AND sex = 1 THEN 'men'
        WHEN $by = 'sex' THEN 'women'
        WHEN age < 40 THEN 'under 40'
        WHEN age < 65 THEN '40 to 64'
        ELSE '65 and over'
    END AS "group",
    count(DISTINCT _person) AS people,
    count(*) AS stays,
    avg(nights) AS mean_nights
FROM "stays-v1"
GROUP BY 1
ORDER BY 1
