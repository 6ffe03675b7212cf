-- Customers on both lists by the class of Bank A, with their damage there.
SELECT
    a.risk,
    count(DISTINCT _person) AS customers,
    sum(a.amount) AS damage
FROM "fraud-a-v1" AS a
JOIN "fraud-b-v1" AS b USING (_person)
WHERE a.risk IN (SELECT unnest($classes)) AND b.since >= $since
GROUP BY a.risk
ORDER BY a.risk
