#!lua name=intendant_v2

-- What a partition does inside the server, whole or not at all. keys.py tells what is stored where.
--
-- Everything comes as arguments and is compared as text or, sequences and times, as numbers below 2^53.
-- A function does not roll back: each one looks at everything first and writes last.
-- No function allows OOM: a server that is full refuses a call before it begins.

local ENTRIES_MAX = 512 -- of one page
local BYTES_MAX = 4 * 1024 * 1024 -- after which a page ends
local STEP_MAX = 32 -- entries looked at in one go
local SCAN_MAX = 1000 -- events looked at in one call
local FIELDS_MAX = 4000 -- of one command, because `unpack` has a limit of about 8,000

local function whole(number)
    return string.format('%.0f', number)
end

local function now()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end

local function base_of(keys)
    return string.sub(keys[1], 1, -5) -- without 'meta'
end

-- An entry's id is <its last sequence>-<the number of its sequences>.
local function span(id)
    local last, count = string.match(id, '^(%d+)-(%d+)$')
    last = tonumber(last)
    return last - tonumber(count) + 1, last
end

-- Ownership -----------------------------------------------------------------------------------------------------------

-- LOST if the store knows only lower epochs, FENCED if the tenure is not the owner's, else nothing.
local function fence(epoch, token, asked_epoch, asked_token)
    if not epoch or tonumber(epoch) < tonumber(asked_epoch) then
        return 'LOST'
    end
    if epoch ~= asked_epoch or token == '' or token ~= asked_token then
        return 'FENCED'
    end
    return nil
end

local function lease_end(lease)
    return whole(now() + tonumber(lease))
end

local OWNER = { 'epoch', 'token', 'host', 'boot', 'pid', 'started', 'since', 'until' }

-- epoch, token, host, boot, pid, started, since, until, and the server's time; nothing if nobody ever owned it.
local function holder(keys)
    local owner = redis.call('HMGET', keys[1], unpack(OWNER))
    if not owner[1] then
        return false
    end
    owner[#owner + 1] = whole(now())
    return owner
end

-- token, lease in µs, above, a token that may be taken over, host, boot, pid, started.
-- Answers 1, epoch, next, time, first, digest when it is granted, else 0 and what `holder` says.
local function acquire(keys, args)
    local token, lease, above, over = args[1], args[2], tonumber(args[3]), args[4]
    local owner = holder(keys)
    local epoch = 0
    if owner then
        local held = owner[2] ~= '' and tonumber(owner[8]) > tonumber(owner[9])
        if held and owner[2] ~= over then
            return { 0, unpack(owner) }
        end
        epoch = tonumber(owner[1])
    else
        redis.call('HSET', keys[1], 'format', '1', 'next', '1', 'time', '0', 'first', '0', 'digest', '')
    end
    epoch = whole(math.max(epoch, above) + 1)
    local time = now()
    redis.call('HSET', keys[1], 'epoch', epoch, 'token', token, 'host', args[5], 'boot', args[6], 'pid', args[7],
        'started', args[8], 'since', whole(time), 'lease', lease, 'until', whole(time + tonumber(lease)))
    return { 1, epoch, unpack(redis.call('HMGET', keys[1], 'next', 'time', 'first', 'digest')) }
end

-- epoch, token, next sequence.
local function renew(keys, args)
    local meta = redis.call('HMGET', keys[1], 'epoch', 'token', 'next', 'lease')
    local verdict = fence(meta[1], meta[2], args[1], args[2])
    if verdict then
        return verdict
    end
    redis.call('HSET', keys[1], 'until', lease_end(meta[4]))
    return tonumber(meta[3]) < tonumber(args[3]) and 'GAP' or 'OK'
end

-- token.
local function release(keys, args)
    if args[1] ~= '' and redis.call('HGET', keys[1], 'token') == args[1] then
        redis.call('HSET', keys[1], 'token', '', 'until', '0')
    end
end

-- The commit ----------------------------------------------------------------------------------------------------------

local function replaced_of(base, tenant)
    return base .. 'replaced:' .. tenant
end

-- Entries of a stream can't be changed: a rewritten one goes into the sorted set `replaced`, as '<id> <body>'.
-- Tenant, first sequence, body.
local function replace(base, args, at)
    local tenant, first, body = args[at], args[at + 1], args[at + 2]
    local day = redis.call('ZREVRANGEBYSCORE', base .. 'days:' .. tenant, first, '-inf', 'LIMIT', 0, 1)[1]
    if not day then -- nor is there any for what no sequence can be
        return
    end
    local stream, replaced = base .. 'log:' .. tenant .. ':' .. day, replaced_of(base, tenant)
    local found = redis.call('XRANGE', stream, first, '+', 'COUNT', 1)[1]
    local id
    if found and span(found[1]) == tonumber(first) then
        id = found[1]
        redis.call('XDEL', stream, id)
    else
        local member = redis.call('ZRANGEBYSCORE', replaced, first, '+inf', 'LIMIT', 0, 1)[1]
        id = member and string.match(member, '^%d+%-%d+')
        if not id or span(id) ~= tonumber(first) then
            return
        end
        redis.call('ZREM', replaced, member)
    end
    redis.call('ZADD', replaced, string.match(id, '^%d+'), id .. ' ' .. body)
end

-- What goes is told as `floor`, where reading all tenants begins, and `floor_time`, of the newest batch below it.
local function trim_tail(base, below)
    local tail, meta = base .. 'tail', base .. 'meta'
    local newest = redis.call('XREVRANGE', tail, whole(tonumber(below) - 1), '-', 'COUNT', 1)[1]
    if newest then
        redis.call('HSET', meta, 'floor_time', newest[2][2])
        redis.call('XTRIM', tail, 'MINID', below)
    end
    if tonumber(below) > tonumber(redis.call('HGET', meta, 'floor') or '0') then
        redis.call('HSET', meta, 'floor', below)
    end
end

-- Tenant, as it is in keys and as it is; below. Removes a tenant's entries that end below a sequence: whole days, and
-- the beginning of one more.
local function trim(base, args, at)
    local tenant, name, below = args[at], args[at + 1], args[at + 2]
    if tonumber(below) <= 1 then
        return
    end
    local days_key, replaced = base .. 'days:' .. tenant, replaced_of(base, tenant)
    local days = redis.call('ZRANGEBYSCORE', days_key, '-inf', '(' .. below)
    redis.call('ZREMRANGEBYSCORE', replaced, '-inf', '(' .. below)
    for place, day in ipairs(days) do
        local stream = base .. 'log:' .. tenant .. ':' .. day
        local over = place < #days
        if not over then
            redis.call('XTRIM', stream, 'MINID', below)
            over = redis.call('XLEN', stream) == 0 and redis.call('EXISTS', replaced) == 0
        end
        if over then
            redis.call('UNLINK', stream)
            redis.call('ZREM', days_key, day)
        end
    end
    if redis.call('EXISTS', days_key) == 0 then
        redis.call('ZREM', base .. 'tenants', name)
    end
    if name == '' then
        trim_tail(base, below)
    end
end

-- A sorted set of the given words, every `step`th of them, by name.
local function add_by_name(key, args, from, to, step)
    local words, count = {}, 0
    for at = from, to, step do
        words[count + 1], words[count + 2] = '0', args[at] -- as text: a number would be printed for each
        count = count + 2
    end
    redis.call('ZADD', key, unpack(words))
end

-- Hash, the order of its fields; fields and values. The order must only be told of fields that are new.
local function put(_, args, at, last)
    if redis.call('HSET', args[at], unpack(args, at + 2, last)) > 0 then
        add_by_name(args[at + 1], args, at + 2, last, 2)
    end
end

-- Hash, the order of its fields; fields.
local function remove(_, args, at, last)
    redis.call('HDEL', args[at], unpack(args, at + 2, last))
    redis.call('ZREM', args[at + 1], unpack(args, at + 2, last))
end

-- Sorted set by name; members.
local function add(_, args, at, last)
    add_by_name(args[at], args, at + 1, last, 1)
end

local OURS = { PUT = put, REMOVE = remove, ADD = add, REPLACE = replace, TRIM = trim }

-- Carries out commands: each is the number of its words, and the words.
local function run(base, args, at, behind)
    while at < behind do
        local name, last = args[at + 1], at + tonumber(args[at])
        local ours = OURS[name]
        if ours then
            ours(base, args, at + 2, last)
        else
            redis.call(unpack(args, at + 1, last))
        end
        at = last + 1
    end
end

-- Which of the claimed keys are taken: the place of each in the call, and its value. And where the claims end.
local function taken_keys(args, at, commands)
    local taken, place = {}, 0
    for _ = 1, commands do
        local last, keys = at + tonumber(args[at]), {}
        for key = at + 4, last, 2 do
            keys[#keys + 1] = args[key]
        end
        for offset, value in ipairs(redis.call('HMGET', args[at + 2], unpack(keys))) do
            if value then
                taken[#taken + 1] = place + offset - 1
                taken[#taken + 1] = value
            end
        end
        place = place + #keys
        at = last + 1
    end
    return taken, at
end

-- Five arguments each: tenant, as it is in keys and as it is; first sequence; id; body.
local function add_entries(base, args, at, entries, day)
    for _ = 1, entries do
        local tenant, id, body = args[at], args[at + 3], args[at + 4]
        local stream = base .. 'log:' .. tenant .. ':' .. day
        if not redis.call('XADD', stream, 'NOMKSTREAM', id, 'b', body) then
            redis.call('ZADD', base .. 'days:' .. tenant, args[at + 2], day)
            redis.call('ZADD', base .. 'tenants', 0, args[at + 1])
            redis.call('XADD', stream, id, 'b', body)
        end
        at = at + 5
    end
    return at
end

-- epoch, token, first, next, time, digest, day, problem, numbers of claims and of entries; claims; entries; commands.
-- A claim is a PUT. PUT, REMOVE, ADD, REPLACE and TRIM are ours, all other commands are Redis'.
local function commit(keys, args)
    local meta = redis.call('HMGET', keys[1], 'epoch', 'token', 'next', 'first', 'digest', 'lease')
    local verdict = fence(meta[1], meta[2], args[1], args[2])
    if verdict then
        return verdict
    end
    local first, expected = tonumber(args[3]), tonumber(meta[3])
    if first > expected then
        return 'GAP'
    end
    if first < expected then
        if args[3] == args[4] or args[3] ~= meta[4] or args[6] ~= meta[5] then
            return 'CONFLICT'
        end
        -- What was written before is only as durable as what followed it: this write is, so that is.
        redis.call('HSET', keys[1], 'until', lease_end(meta[6]))
        return 'DUP'
    end
    if args[8] ~= '' then
        return 'MALFORMED'
    end
    local taken, at = taken_keys(args, 11, tonumber(args[9]))
    if #taken > 0 then
        return taken
    end

    local base = base_of(keys)
    run(base, args, 11, at)
    run(base, args, add_entries(base, args, at, tonumber(args[10]), args[7]), #args + 1)
    if args[3] == args[4] then
        redis.call('HSET', keys[1], 'until', lease_end(meta[6]))
    else
        redis.call('HSET', keys[1], 'next', args[4], 'time', args[5], 'first', args[3], 'digest', args[6],
            'until', lease_end(meta[6]))
    end
    return 'OK'
end

-- Reads ---------------------------------------------------------------------------------------------------------------

-- Values of a hash's fields, however many.
local function values_of(hash, fields)
    local values = {}
    for start = 1, #fields, FIELDS_MAX do
        for _, value in ipairs(redis.call('HMGET', hash, unpack(fields, start, math.min(start + FIELDS_MAX - 1, #fields)))) do
            values[#values + 1] = value
        end
    end
    return values
end

-- order, hash; after, limit, '1' for falling. Fields and values in the order of fields.
local function documents(keys, args)
    local after, limit, fields = args[1], args[2], nil
    if args[3] == '1' then
        fields = redis.call('ZREVRANGEBYLEX', keys[1], after == '' and '+' or '(' .. after, '-', 'LIMIT', 0, limit)
    else
        fields = redis.call('ZRANGEBYLEX', keys[1], '(' .. after, '+', 'LIMIT', 0, limit)
    end
    local found = {}
    for place, value in ipairs(values_of(keys[2], fields)) do
        found[#found + 1] = fields[place]
        found[#found + 1] = value
    end
    return found
end

-- order, hash; after, limit, tenant or '*' for all. Where to go on ('' at the end), then positions and values.
local function outbox(keys, args)
    local limit, tenant = tonumber(args[2]), args[3]
    local scanned = tenant == '*' and math.min(limit, SCAN_MAX) or SCAN_MAX
    local positions = redis.call('ZRANGEBYSCORE', keys[1], '(' .. args[1], '+inf', 'LIMIT', 0, scanned)
    local found, go_on = { '' }, #positions == scanned and positions[#positions] or ''
    for place, value in ipairs(values_of(keys[2], positions)) do
        if tenant == '*' or string.match(value, '^%d+:([^:]*):') == tenant then
            found[#found + 1] = positions[place]
            found[#found + 1] = value
            if #found > 2 * limit then
                go_on = positions[place]
                break
            end
        end
    end
    found[1] = go_on
    return found
end

-- Entries of one page, with where each begins and ends; `full` once nothing more may be added.
local function new_page(limit)
    return { limit = math.min(limit, ENTRIES_MAX), bytes = 0, entries = {}, full = limit < 1 }
end

local function add(page, id, body)
    local first, last = span(id)
    page.entries[#page.entries + 1] = { first, last, body }
    page.bytes = page.bytes + #body
    page.full = #page.entries >= page.limit or page.bytes >= BYTES_MAX
end

local function step_of(page)
    return math.min(STEP_MAX, page.limit - #page.entries)
end

-- Calls `visit` with each of a stream's entries in low..high until it says true; falling if `backwards`.
local function walk(stream, low, high, backwards, step, visit)
    while low <= high do
        local top = high == math.huge and '+' or whole(high)
        local entries
        if backwards then
            entries = redis.call('XREVRANGE', stream, top, whole(low), 'COUNT', step)
        else
            entries = redis.call('XRANGE', stream, whole(low), top, 'COUNT', step)
        end
        for _, entry in ipairs(entries) do
            if visit(entry[1], entry[2]) then
                return
            end
        end
        if #entries < step then
            return
        end
        local _, last = span(entries[#entries][1])
        if backwards then
            high = last - 1
        else
            low = last + 1
        end
    end
end

-- The end of the entry that holds `last`, if there is one that goes on behind it; else `last`.
local function end_of(last, id)
    if id then
        local begins, ends = span(id)
        if begins <= last then
            return ends
        end
    end
    return last
end

local function first_id(stream, low)
    local found = redis.call('XRANGE', stream, whole(low), '+', 'COUNT', 1)[1]
    return found and found[1]
end

local function answer(page, backwards)
    local found = { '' }
    for place = 1, math.min(#page.entries, page.limit) do
        found[place + 1] = page.entries[place][3]
    end
    if page.full and #found > 1 then
        local newest = page.entries[#found - 1]
        found[1] = whole(backwards and newest[1] - 1 or newest[2] + 1)
    end
    return found
end

-- Puts rewritten entries among the others.
local function merge(page, replaced, low, high, backwards)
    local command, from, to = 'ZRANGEBYSCORE', whole(low), high == math.huge and '+inf' or whole(high)
    if backwards then
        command, from, to = 'ZREVRANGEBYSCORE', to, from
    end
    local newest = page.full and page.entries[#page.entries]
    for _, member in ipairs(redis.call(command, replaced, from, to, 'LIMIT', 0, page.limit)) do
        local id, body = string.match(member, '^(%d+%-%d+) (.*)$')
        local first, last = span(id)
        local beyond = newest and ((backwards and last < newest[1]) or (not backwards and first > newest[2]))
        if not beyond then
            page.entries[#page.entries + 1] = { first, last, body }
        end
    end
    table.sort(page.entries, function(one, other)
        if backwards then
            return one[2] > other[2]
        end
        return one[2] < other[2]
    end)
    page.full = page.full or #page.entries >= page.limit
end

-- meta; tenant as it is in keys, first, last or '', limit, '1' for falling. Where to go on ('' at the end), then bodies.
local function tenant_entries(keys, args)
    local base, tenant, backwards = base_of(keys), args[1], args[5] == '1'
    local first, last, page = tonumber(args[2]), tonumber(args[3]) or math.huge, new_page(tonumber(args[4]))
    local days_key, replaced = base .. 'days:' .. tenant, replaced_of(base, tenant)
    local start = redis.call('ZREVRANGEBYSCORE', days_key, whole(first), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or '-inf'
    local days = redis.call('ZRANGEBYSCORE', days_key, start, last == math.huge and '+inf' or whole(last))
    if #days == 0 or page.full then
        return { '' }
    end
    local rewritten = redis.call('EXISTS', replaced) == 1
    local high = last
    if last ~= math.huge then
        high = end_of(last, first_id(base .. 'log:' .. tenant .. ':' .. days[#days], last + 1))
        if rewritten then
            local member = redis.call('ZRANGEBYSCORE', replaced, whole(last + 1), '+inf', 'LIMIT', 0, 1)[1]
            high = math.max(high, end_of(last, member and string.match(member, '^%d+%-%d+')))
        end
    end
    local from, to, step = 1, #days, 1
    if backwards then
        from, to, step = #days, 1, -1
    end
    for place = from, to, step do
        walk(base .. 'log:' .. tenant .. ':' .. days[place], first, high, backwards, step_of(page), function(id, fields)
            add(page, id, fields[2])
            return page.full
        end)
        if page.full then
            break
        end
    end
    if rewritten then
        merge(page, replaced, first, high, backwards)
    end
    return answer(page, backwards)
end

-- The body of one entry, wherever it is now; nothing if it was trimmed.
local function body_of(base, tenant, day, id)
    local found = redis.call('XRANGE', base .. 'log:' .. tenant .. ':' .. day, id, id)[1]
    if found then
        return found[2][2]
    end
    local last = string.match(id, '^%d+')
    local member = redis.call('ZRANGEBYSCORE', replaced_of(base, tenant), last, last)[1]
    return member and string.match(member, '^%d+%-%d+ (.*)$')
end

-- meta; first, last or '', limit, '1' for falling. As `tenant_entries`, of all tenants.
-- A tail entry holds t, time, d, day, and a tenant and an id for each entry of its batch.
local function all_entries(keys, args)
    local base, backwards = base_of(keys), args[4] == '1'
    local first, last, page = tonumber(args[1]), tonumber(args[2]) or math.huge, new_page(tonumber(args[3]))
    local tail, high = base .. 'tail', last
    first = math.max(first, tonumber(redis.call('HGET', keys[1], 'floor') or '0'))
    if page.full then
        return { '' }
    end
    if last ~= math.huge then
        high = end_of(last, first_id(tail, last + 1))
    end
    walk(tail, first, high, backwards, step_of(page), function(_, fields)
        local from, to, step = 5, #fields - 1, 2
        if backwards then
            from, to, step = #fields - 1, 5, -2
        end
        for place = from, to, step do
            local id = fields[place + 1]
            local begins, ends = span(id)
            local body = ends >= first and begins <= last and body_of(base, fields[place], fields[4], id)
            if body then
                add(page, id, body)
                if page.full then
                    return true
                end
            end
        end
        return false
    end)
    return answer(page, backwards)
end

-- meta; time. Halves the tail, along which times never decrease. Below its floor nothing is known: 1, to be safe.
local function position_at(keys, args)
    local tail, time = base_of(keys) .. 'tail', tonumber(args[1])
    local meta = redis.call('HMGET', keys[1], 'next', 'floor_time')
    if meta[2] and time <= tonumber(meta[2]) then
        return '1'
    end
    local found = tonumber(meta[1] or '1')
    local oldest = first_id(tail, 0)
    local low, high = oldest and span(oldest) or found, found
    while low < high do
        local middle = math.floor((low + high) / 2)
        local probe = redis.call('XRANGE', tail, whole(middle), '+', 'COUNT', 1)[1]
        if not probe then
            high = middle
        else
            local begins, ends = span(probe[1])
            if tonumber(probe[2][2]) >= time then
                found = begins
                high = math.min(begins, middle)
            else
                low = ends + 1
            end
        end
    end
    return whole(found)
end

-- While a library is loaded there is no `pairs`, hence one by one.
local function register(name, callback, flags)
    redis.register_function({ function_name = 'intendant_v2_' .. name, callback = callback, flags = flags })
end

local READS = { 'no-writes' }

register('acquire', acquire, {})
register('renew', renew, {})
register('release', release, {})
register('commit', commit, {})
register('holder', holder, READS)
register('documents', documents, READS)
register('outbox', outbox, READS)
register('entries', tenant_entries, READS)
register('all_entries', all_entries, READS)
register('position_at', position_at, READS)
