-- A node says goodbye, so that nobody waits for it.
--
-- KEYS: nodes, attached
-- ARGV: node
redis.call('HDEL', KEYS[1], 'seen:' .. ARGV[1], 'about:' .. ARGV[1], 'batch:' .. ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 'ok'
