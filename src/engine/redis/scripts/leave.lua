-- A node says goodbye, so that nobody waits for it; the log of its epoch tells
-- all others so. That it has is kept for a while, because a node without a sign
-- may also be one that was forgotten.
--
-- KEYS: log, meta, nodes, attached
-- ARGV: run id, epoch, node
local node = ARGV[3]
redis.call('HDEL', KEYS[3], 'seen:' .. node, 'about:' .. node, 'batch:' .. node)
redis.call('HDEL', KEYS[4], node)
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[3], 'left:' .. node, now)
local meta = redis.call('HMGET', KEYS[2], 'run', 'epoch', 'state', 'next', 'extra')
local is_open = meta[1] == ARGV[1] and meta[2] == ARGV[2] and meta[3] == 'open' and
  (redis.call('EXISTS', KEYS[1]) == 1 or (meta[4] == '1' and meta[5] == '0'))
if is_open then
  local extra = string.format('%.0f', tonumber(meta[5]) + 1)
  redis.call('XADD', KEYS[1], string.format('%.0f-', tonumber(meta[4]) - 1) .. extra,
    'n', node, 'b', '0', 'c', '0', 'e', ARGV[2], 't', now,
    'd', string.char(13, #node) .. node)
  redis.call('HSET', KEYS[2], 'extra', extra)
end
return 'ok'
