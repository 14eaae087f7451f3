%% Erlang/OTP: cast and call of one gen_server, and restarts by one supervisor. It answers the same lines as protocol.py.
-module(otp_server).
-behaviour(gen_server).
-export([main/0, init/1, handle_call/3, handle_cast/2]).
-define(BATCH, 100).
-define(TELLS, 10000).
-define(WARM_UP_SECONDS, 0.5).

init(State) -> {ok, State}.
handle_call(Message, _From, State) -> {reply, Message, State}.
handle_cast(_Message, State) -> {noreply, State}.

main() ->
    logger:set_primary_config(level, none),
    {ok, Server} = gen_server:start(?MODULE, 0, []),
    io:format("ready~n"),
    serve(Server).

serve(Server) ->
    case io:get_line("") of
        Line when is_list(Line) -> answer(Server, string:lexemes(Line, " \n")), serve(Server);
        _ -> halt(0)
    end.

answer(Server, [Measure, Callers, _Steps, Seconds]) ->
    N = list_to_integer(Callers),
    Some = case Measure of
        "tell" -> fun() -> tell(Server) end;
        "ask" -> fun() -> ask(Server) end;
        "restarts" -> fun restarts/0
    end,
    run(Some, N, ?WARM_UP_SECONDS),
    {Count, Took} = run(Some, N, list_to_float(Seconds)),
    io:format(
        "{\"per_second\": ~.1f, \"count\": ~p, \"p50_ms\": null, \"p99_ms\": null, \"version\": \"OTP ~s\", "
        "\"durability\": \"memory\", \"settings\": {\"schedulers\": ~p, \"actor\": \"gen_server\"}}~n",
        [Count / Took, Count, erlang:system_info(otp_release), erlang:system_info(schedulers_online)]).

%% N processes, each doing some again and again until the time is over.
run(Some, N, Seconds) ->
    Self = self(),
    Begin = erlang:monotonic_time(microsecond),
    End = Begin + round(Seconds * 1000000),
    [spawn_link(fun() -> Self ! {did, repeat(Some, End, 0)} end) || _ <- lists:seq(1, N)],
    Count = lists:sum([receive {did, Did} -> Did end || _ <- lists:seq(1, N)]),
    {Count, (erlang:monotonic_time(microsecond) - Begin) / 1000000}.

repeat(Some, End, Did) ->
    case erlang:monotonic_time(microsecond) < End of
        true -> repeat(Some, End, Did + Some());
        false -> Did
    end.

tell(Server) ->
    [gen_server:cast(Server, Number) || Number <- lists:seq(1, ?TELLS)],
    7 = gen_server:call(Server, 7, infinity),
    ?TELLS.

%% A child that tells whoever tests that it is up, and crashes when told.
start_child(Tester) ->
    {ok, spawn_link(fun() -> Tester ! {up, self()}, receive crash -> exit(crash) end end)}.

%% A new supervisor each time: one looks at every restart of its period whenever it restarts, and of thousands that
%% would be most of what is measured.
restarts() ->
    Child = #{id => child, start => {erlang, apply, [fun start_child/1, [self()]]}},
    {ok, Supervisor} = supervisor:start_link(?MODULE, {#{intensity => 1000000000, period => 1}, [Child]}),
    lists:foldl(fun(_, Up) -> Up ! crash, up() end, up(), lists:seq(1, ?BATCH)),
    Monitor = monitor(process, Supervisor),
    unlink(Supervisor),
    exit(Supervisor, shutdown),
    receive {'DOWN', Monitor, process, _, _} -> ?BATCH end.

up() ->
    receive {up, Child} -> Child end.

ask(Server) ->
    [Number = gen_server:call(Server, Number) || Number <- lists:seq(1, ?BATCH)],
    ?BATCH.
