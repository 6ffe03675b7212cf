-- Customers on each list, and on both.
WITH
    a AS (SELECT DISTINCT _person FROM "fraud-a-v1" WHERE risk IN (SELECT unnest($classes))),
    b AS (SELECT DISTINCT _person FROM "fraud-b-v1" WHERE since >= $since)
SELECT
    (SELECT count(*) FROM a) AS at_a,
    (SELECT count(*) FROM b) AS at_b,
    (SELECT count(*) FROM a JOIN b USING (_person)) AS at_both
