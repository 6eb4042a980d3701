-- A node says goodbye, so that nobody waits for it. That it has is kept for a
-- while, because a node without a sign may also be one that was forgotten.
--
-- KEYS: nodes, attached
-- ARGV: node
redis.call('HDEL', KEYS[1], 'seen:' .. ARGV[1], 'about:' .. ARGV[1], 'batch:' .. ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'left:' .. ARGV[1], string.format('%.0f', now))
return 'ok'
