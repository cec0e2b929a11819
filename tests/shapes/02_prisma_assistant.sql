-- An assistant behind a Next.js app: users, conversations and messages as Prisma migrates them.
-- camelCase columns, an enum for the role, keys made by the app, no row-level security anywhere.

create type public."MessageRole" as enum ('USER', 'ASSISTANT', 'SYSTEM');
create type public."Plan" as enum ('FREE', 'PRO');

create table public."User" (
    id text primary key,
    email text not null,
    name text,
    "passwordHash" text,
    plan public."Plan" not null default 'FREE',
    "createdAt" timestamp(3) not null default current_timestamp
);

create table public."Conversation" (
    id text primary key,
    title text not null default 'New conversation',
    "userId" text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null,
    constraint "Conversation_userId_fkey" foreign key ("userId")
    references public."User" (id) on delete cascade on update cascade
);

create table public."Message" (
    id text primary key,
    "conversationId" text not null,
    role public."MessageRole" not null,
    content text not null,
    "isFinal" boolean not null default false,
    "promptTokens" integer,
    "createdAt" timestamp(3) not null default current_timestamp,
    constraint "Message_conversationId_fkey" foreign key ("conversationId")
    references public."Conversation" (id) on delete cascade on update cascade
);

create unique index "User_email_key" on public."User" (email);
create index "Conversation_userId_updatedAt_idx" on public."Conversation" ("userId", "updatedAt");
create index "Message_conversationId_createdAt_idx" on public."Message" ("conversationId", "createdAt");

create table public._prisma_migrations (
    id varchar(36) primary key,
    checksum varchar(64) not null,
    finished_at timestamptz,
    migration_name varchar(255) not null,
    logs text,
    rolled_back_at timestamptz,
    started_at timestamptz not null default now(),
    applied_steps_count integer not null default 0
);
