# The helpers every room uses: easel_room() makes one target of one folder, easel_test() one test program.

add_library(easel_options INTERFACE)
target_compile_options(easel_options INTERFACE -Wall -Wextra -Wno-unused-parameter)
# Results must not depend on the host the compiler ran on: no contraction outside kernels that ask for it.
target_compile_options(easel_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
if(EASEL_SANITIZE)
  target_compile_options(easel_options INTERFACE -fsanitize=${EASEL_SANITIZE} -fno-omit-frame-pointer -g)
  target_link_options(easel_options INTERFACE -fsanitize=${EASEL_SANITIZE})
endif()

# easel_room(NAME SOURCES ... DEPS rooms ... LINK libraries ...)
# Sources see "<room>/<file>.h" of the rooms in DEPS and <easel/...> public headers.
function(easel_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LINK;PRIVATE_LINK" ${ARGN})
  set(target easel_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(easel::${name} ALIAS ${target})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PUBLIC ${ARG_LINK} PRIVATE easel_options ${ARG_PRIVATE_LINK})
  foreach(dep ${ARG_DEPS})
    target_link_libraries(${target} PUBLIC easel_${dep})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY EASEL_ROOM_TARGETS ${target})
endfunction()

# easel_test(NAME SOURCES ... DEPS rooms ...): a GoogleTest program; every TEST becomes one ctest entry.
# EASEL_SOURCE_DIR is defined for fixtures.
function(easel_test name)
  if(NOT EASEL_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE easel_options GTest::gtest GTest::gtest_main ${ARG_LINK})
  foreach(dep ${ARG_DEPS})
    target_link_libraries(${name} PRIVATE easel_${dep})
  endforeach()
  target_compile_definitions(${name} PRIVATE EASEL_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()
