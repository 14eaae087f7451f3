#!/usr/bin/env escript
%% What benchmarks.restarts measures, in OTP: restarts, casts and calls a second. One figure is printed.
-mode(compile).

main(["restarts", Count]) ->
    prepare_supervisor(),
    Batches = list_to_integer(Count) div 100,
    Began = erlang:monotonic_time(nanosecond),
    lists:foreach(fun(_) -> restart_a_hundred_times() end, lists:seq(1, Batches)),
    told(Batches * 100, Began);
main(["tell", Count]) ->
    Actor = spawn_link(fun() -> count(0) end),
    Number = list_to_integer(Count),
    Began = erlang:monotonic_time(nanosecond),
    [Actor ! {tell, I} || I <- lists:seq(1, Number)],
    Number = ask(Actor),
    told(Number, Began);
main(["ask", Count]) ->
    Actor = spawn_link(fun() -> count(0) end),
    per_second(list_to_integer(Count), fun(_) -> ask(Actor) end).

%% One child, one_for_one, whose end is seen by the supervisor alone; whoever made it crash waits until the next is up.
prepare_supervisor() ->
    Tester = self(),
    Start = fun() -> {ok, spawn_link(fun() -> Tester ! {up, self()}, receive crash -> exit(crash) end end)} end,
    Flags = #{strategy => one_for_one, intensity => 1000000000, period => 1},
    register_callback(Flags, [#{id => child, start => {erlang, apply, [Start, []]}}]).

%% A new supervisor each time: one looks at every restart of its period whenever it restarts, and of thousands that
%% would be most of what is measured.
restart_a_hundred_times() ->
    {ok, Supervisor} = supervisor:start_link(restarts_callback, []),
    lists:foldl(fun(_, Up) -> Up ! crash, up() end, up(), lists:seq(1, 100)),
    Monitor = monitor(process, Supervisor),
    unlink(Supervisor),
    exit(Supervisor, shutdown),
    receive {'DOWN', Monitor, process, _, _} -> ok end.

up() ->
    receive {up, Child} -> Child end.

%% A supervisor wants a module: one that answers `init` with what it finds, made on the spot.
register_callback(Flags, Children) ->
    persistent_term:put(restarts_callback, {ok, {Flags, Children}}),
    {ok, Tokens1, _} = erl_scan:string("-module(restarts_callback)."),
    {ok, Tokens2, _} = erl_scan:string("-export([init/1])."),
    {ok, Tokens3, _} = erl_scan:string("init(_) -> persistent_term:get(restarts_callback)."),
    Forms = [element(2, erl_parse:parse_form(Tokens)) || Tokens <- [Tokens1, Tokens2, Tokens3]],
    {ok, Module, Binary} = compile:forms(Forms),
    {module, Module} = code:load_binary(Module, "restarts_callback.erl", Binary),
    logger:set_primary_config(level, none).

count(Number) ->
    receive
        {tell, _} -> count(Number + 1);
        {ask, Ref, From} -> From ! {Ref, Number}, count(Number)
    end.

ask(Actor) ->
    Ref = make_ref(),
    Actor ! {ask, Ref, self()},
    receive {Ref, Number} -> Number after 5000 -> exit(timeout) end.

per_second(Count, Do) ->
    Began = erlang:monotonic_time(nanosecond),
    lists:foreach(Do, lists:seq(1, Count)),
    told(Count, Began).

told(Count, Began) ->
    Nanoseconds = erlang:monotonic_time(nanosecond) - Began,
    io:format("~.1f~n", [Count / (Nanoseconds / 1.0e9)]).
