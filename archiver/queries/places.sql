-- Where was an account? Its places, with coordinates for a map: -p username=natgeo
SELECT taken_at, place, lat, lng, title, item_url
FROM item_locations
WHERE username = :username
ORDER BY taken_at NULLS LAST, item_pk, position
