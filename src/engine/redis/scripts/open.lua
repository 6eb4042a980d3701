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
elseif first ~= '1' then
  -- A log without entries would be taken for one that was deleted.
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  extra = '1'
  redis.call('XADD', KEYS[1], string.format('%.0f-1', tonumber(first) - 1),
    'n', ARGV[2], 'b', '0', 'c', '0', 'e', ARGV[4],
    't', string.format('%.0f', now), 'd', '')
end
redis.call('HSET', KEYS[2], 'state', 'open', 'depth', ARGV[3], 'epoch', ARGV[4],
  'ancestors', ARGV[5], 'next', first, 'extra', extra)
redis.call('HDEL', KEYS[2], 'restorer', 'until')
redis.call('DEL', KEYS[4])
return {'open', ARGV[3], ARGV[4], first, ARGV[5]}
