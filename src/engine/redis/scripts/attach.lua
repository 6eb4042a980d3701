-- A node says what it has of the log, and learns whether the log is open.
-- If it is not, the nodes that are alive put its end back first, which only
-- they know for certain: the one with the most of it restores.
--
-- KEYS: log, meta, nodes, attached
-- ARGV: run id, node, depth, epoch, head, patience in ms, layout, nodes alive…
--
-- Answers {'open', depth, epoch, next, ancestors}, {'wait', ms},
-- {'restore', depth, epoch, last, ancestors} with what the log here is, or
-- {'layout', layout} if a newer version of the program wrote the log.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run, node, patience = ARGV[1], ARGV[2], tonumber(ARGV[6])
local names = {'layout', 'run', 'state', 'next', 'extra', 'until', 'restorer',
  'depth', 'epoch', 'ancestors'}
local meta = {}
for index, value in ipairs(redis.call('HMGET', KEYS[2], unpack(names))) do
  meta[names[index]] = value
end

if meta.layout and tonumber(meta.layout) > tonumber(ARGV[7]) then
  return {'layout', meta.layout}
end

local here = redis.call('EXISTS', KEYS[1]) == 1
local whole = meta.epoch and (here or (meta.next == '1' and meta.extra == '0'))
if meta.run == run and meta.state == 'open' and whole then
  return {'open', meta.depth, meta.epoch, meta.next, meta.ancestors}
end

if meta.run ~= run or meta.state ~= 'restoring' then
  redis.call('DEL', KEYS[4])
  redis.call('HDEL', KEYS[2], 'restorer')
  meta.restorer = false
  meta['until'] = now + patience
  redis.call('HSET', KEYS[2], 'layout', ARGV[7], 'run', run, 'state', 'restoring',
    'until', string.format('%.0f', meta['until']))
end
local deadline = tonumber(meta['until'])

-- Whoever was to restore and did not is given up.
if meta.restorer and now >= deadline then
  redis.call('HDEL', KEYS[4], meta.restorer)
  redis.call('HDEL', KEYS[2], 'restorer')
  meta.restorer = false
end

redis.call('HSET', KEYS[4], node, ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
for index = 8, #ARGV do
  redis.call('HSETNX', KEYS[4], ARGV[index], '')
end
if meta.restorer and meta.restorer ~= node then
  return {'wait', string.format('%.0f', deadline - now)}
end

-- The one with the latest epoch, and of those the one with the highest head.
local function before(a, b)
  if a.depth ~= b.depth then return a.depth < b.depth end
  if a.epoch ~= b.epoch then return a.epoch < b.epoch end
  if a.head ~= b.head then return a.head < b.head end
  return a.node < b.node
end
local best, missing
local attached = redis.call('HGETALL', KEYS[4])
for index = 1, #attached, 2 do
  local depth, epoch, head = string.match(attached[index + 1], '^(%d+) (%S+) (%d+)$')
  if depth then
    local one = {node = attached[index], depth = tonumber(depth), epoch = epoch,
      head = tonumber(head)}
    if not best or before(best, one) then best = one end
  else
    missing = true
  end
end
-- Once a node was chosen to restore, nobody is waited for any more.
if missing and not meta.restorer and now < deadline then
  return {'wait', string.format('%.0f', deadline - now)}
end

redis.call('HSET', KEYS[2], 'restorer', best.node,
  'until', string.format('%.0f', now + patience))
if best.node ~= node then
  return {'wait', string.format('%.0f', patience)}
end
local last = '0'
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if newest[1] then
  last = string.match(newest[1][1], '^(%d+)')
end
return {'restore', meta.depth or '0', meta.epoch or '', last, meta.ancestors or ''}
