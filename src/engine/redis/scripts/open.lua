-- Opens the log under a new epoch, when its end is back.
--
-- KEYS: log, meta, nodes, attached
-- ARGV: run id, node, depth, epoch, ancestors, next offset if the log is empty
--
-- Answers {'open', depth, epoch, next, ancestors}, or {'closed'} if it is not
-- this node that restores.
local meta = redis.call('HMGET', KEYS[2], 'run', 'state', 'restorer')
if meta[1] ~= ARGV[1] or meta[2] ~= 'restoring' or meta[3] ~= ARGV[2] then
  return {'closed'}
end
local first, extra = ARGV[6], '0'
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if newest[1] then
  local last, sequence = string.match(newest[1][1], '^(%d+)-(%d+)$')
  first, extra = string.format('%.0f', tonumber(last) + 1), sequence
end
redis.call('HSET', KEYS[2], 'state', 'open', 'depth', ARGV[3], 'epoch', ARGV[4],
  'ancestors', ARGV[5], 'next', first, 'extra', extra)
redis.call('HDEL', KEYS[2], 'restorer', 'until')
redis.call('DEL', KEYS[4])
return {'open', ARGV[3], ARGV[4], first, ARGV[5]}
